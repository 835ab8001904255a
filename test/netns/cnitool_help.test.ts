/** cnitool's help and completion, which are made from one table. */
import { describe, expect, test } from "vitest";
import type { Sandbox } from "../helpers/cni.ts";
import { cnitool, cnitoolOk, createInstalledNode } from "../helpers/cnitool.ts";

/** The commands, as the tool's own help lists them. */
async function commandsOf(node: Sandbox): Promise<readonly string[]> {
  const text = await cnitoolOk(node, ["--help"]);
  const [, list = ""] = /Commands:\n((?: {2}.+\n)+)/.exec(text) ?? [];
  return list
    .trim()
    .split("\n")
    .map((line) => line.trim().split(" ")[0] ?? "");
}

/** The options of a command, as its help lists them. */
async function optionsOf(node: Sandbox, command: string): Promise<readonly string[]> {
  const text = await cnitoolOk(node, [command, "--help"]);
  return [...text.matchAll(/^ {2}(?:-\w, )?--([a-z-]+)/gm)].map(([, name]) => name ?? "");
}

describe.concurrent("help", () => {
  test("of the tool and of each command fits in a terminal and has an example", async () => {
    await using node = await createInstalledNode();
    const commands = await commandsOf(node);
    expect(commands.length).toBeGreaterThan(8);
    for (const command of commands) {
      const text = await cnitoolOk(node, [command, "--help"]);
      expect(text).toMatch(new RegExp(`^Usage: cnitool ${command}\\b`));
      expect(text).toContain("\nExamples:\n");
      const [prose = ""] = text.split("\nExamples:\n");
      expect(prose.split("\n").filter((line) => line.length > 80)).toEqual([]);
      for (const args of [
        ["help", command],
        [command, "-h"],
      ]) {
        expect(await cnitoolOk(node, args)).toBe(text);
      }
    }
    const overview = await cnitoolOk(node, []);
    expect(overview.split("\n").filter((line) => line.length > 80)).toEqual([]);
    expect(await cnitoolOk(node, ["version"])).toMatch(/^cnitool \d+\.\d+\.\d+ \(flannel-cni\)\n$/);
  });

  test("names the commands when there is none of that name", async () => {
    await using node = await createInstalledNode();
    const { status, stderr } = await cnitool(node, ["help", "heal"]);
    expect(status).toBe(64);
    expect(stderr).toContain("add, check, del");
  });

  test("cnitool is also a word of the executable by any name", async () => {
    await using node = await createInstalledNode();
    const { stdout } = await node.exec("/opt/cni/bin/flannel", ["cnitool", "version"]);
    expect(stdout).toBe(await cnitoolOk(node, ["version"]));
  });
});

describe.concurrent("completion", () => {
  test("for bash names every command and option, and is a script", async () => {
    await using node = await createInstalledNode();
    const script = await cnitoolOk(node, ["completion", "bash"]);
    for (const command of await commandsOf(node)) {
      expect(script).toContain(command);
      for (const option of await optionsOf(node, command)) {
        expect(script).toContain(`--${option}`);
      }
    }
    await node.writeFile("/run/script", script);
    await node.sh("bash -n /run/script");
  });

  test.for([
    ["d", ["del", "doctor"]],
    ["gc --d", ["--dry-run"]],
    ["add ", ["cbr0", "other"]],
    ["add -i net1 c", ["cbr0"]],
    ["add --explain cbr0 /run/netns/p", ["/run/netns/pod1", "/run/netns/pod2"]],
    ["del cbr0 ", ["/run/netns/pod1", "/run/netns/pod2"]],
    ["gc cbr0 --valid-file /run/va", ["/run/valid"]],
    ["completion ", ["bash"]],
    ["help re", ["repair"]],
    ["ps ", []],
  ] as const)("in bash completes %j", async ([line, expected]) => {
    await using node = await createInstalledNode();
    await node.writeFile("/etc/cni/net.d/20-x.conf", '{"name":"other","type":"x"}');
    await node.writeFile("/etc/cni/net.d/30-x.conf", "{");
    await node.writeFile("/run/valid", "");
    for (const name of ["pod1", "pod2"]) await node.addPod(name);
    const script = `
      PATH=/opt/cni/bin:$PATH
      source <(cnitool completion bash)
      COMP_WORDS=(cnitool "$@")
      COMP_CWORD=$#
      _cnitool
      printf '%s\\n' "\${COMPREPLY[@]}"`;
    const words = line.split(" ");
    const printed = await node.output("bash", ["-ec", script, "bash", ...words]);
    expect(printed.split("\n").filter(Boolean).toSorted()).toEqual([...expected].toSorted());
  });

  test("says which shell there is", async () => {
    await using node = await createInstalledNode();
    for (const args of [["completion"], ["completion", "zsh"]]) {
      const { status, stderr } = await cnitool(node, args);
      expect(status).toBe(64);
      expect(stderr).toContain("the shell must be bash");
    }
  });
});
