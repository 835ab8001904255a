/** The commands in the docs work. */
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { addByTool, cnitoolOk, createInstalledNode, flannelConflist } from "../helpers/cnitool.ts";

/** A page's blocks of shell commands: fenced with "sh"; in a section of the README, indented. */
function blocksOf(file: string, section?: string): readonly string[] {
  const text = readFileSync(file, "utf8");
  if (section === undefined) {
    return [...text.matchAll(/^```sh\n([^]*?)^```$/gm)].map(([, block]) => block ?? "");
  }
  const [, body = ""] = text.split(`\n## ${section}\n`);
  const [own = ""] = body.split("\n## ");
  return [...own.matchAll(/(?:^ {4}.*\n)+/gm)].map(([block]) => block.replaceAll(/^ {4}/gm, ""));
}

describe.concurrent("the commands run", () => {
  test.for([
    { file: "docs/cnitool.md", least: 8 },
    { file: "docs/doctor.md", least: 3 },
    { file: "README.md", section: "By hand", least: 2 },
    ...["flannel", "bridge", "host-local", "loopback", "portmap"].map((plugin) => ({
      file: `docs/plugins/${plugin}.md`,
      least: 1,
    })),
  ])("in $file", async ({ file, section, least }) => {
    const blocks = blocksOf(file, section);
    expect(blocks.length).toBeGreaterThanOrEqual(least);
    await using node = await createInstalledNode(flannelConflist({ cniVersion: "1.1.0" }));
    await addByTool(node, "other");
    // One shell for all of them, as a reader has. It prints the command at which it stops.
    const script = `exec 2>&1; set -e; PATH=/opt/cni/bin:$PATH; trap 'echo "stopped at: $BASH_COMMAND"' ERR\n`;
    const { exitCode, stdout } = await node.exec("bash", ["-c", script + blocks.join("\n")]);
    expect(exitCode, stdout).toBe(0);
    // The page removes what it has made.
    expect(await cnitoolOk(node, ["ps", "--valid"])).toBe("other/eth0\n");
    expect(await cnitoolOk(node, ["doctor"])).toBe("");
  });
});

test("the manual's synopsis names every option", async () => {
  const manual = readFileSync("docs/cnitool.md", "utf8");
  await using node = await createInstalledNode();
  const overview = await cnitoolOk(node, ["--help"]);
  const [, list = ""] = /Commands:\n((?: {2}.+\n)+)/.exec(overview) ?? [];
  for (const line of list.trim().split("\n")) {
    const [command = ""] = line.trim().split(" ");
    const [synopsis] = new RegExp(`^ {4}cnitool ${command}\\b.*$`, "m").exec(manual) ?? [];
    expect(synopsis, command).toBeDefined();
    const help = await cnitoolOk(node, [command, "--help"]);
    for (const [, option = ""] of help.matchAll(/^ {2}(?:-\w, )?--([a-z-]+)/gm)) {
      if (["help", "networks", "ifname"].includes(option)) continue;
      expect(synopsis).toContain(`--${option}`);
    }
  }
});
