import { asCniError } from "../../shared/cni/error.ts";
import type { Finding } from "../../shared/preconditions/finding.ts";
import type { Command } from "./command.ts";
import { findingsOf } from "./doctor/findings.ts";
import { observe } from "./doctor/observe/observe.ts";
import { isPresent } from "../../shared/files/files.ts";
import { netFolder } from "./settings.ts";
import { withCaches } from "./node/caching_node.ts";

/** The exit status when nothing could be looked at. */
const unable = 3;

export const doctor: Command = {
  name: "doctor",
  operands: "",
  summary: "look for what is wrong with this node's pod network",
  text: [
    "Looks at the network config, the plugins, subnet.env, the kernel's settings, the",
    "bridge, addresses, firewall rules and each pod's network. For each thing that is",
    "wrong it prints what it saw, what that means for pods, and how to fix it.",
    "It changes nothing, and on a healthy node it prints nothing.",
    "",
    "Exit status: 0 healthy, 1 only warnings, 2 at least one error,",
    "3 the node could not be examined.",
  ],
  options: { json: { type: "boolean", text: "print a JSON array of the findings" } },
  examples: ["cnitool doctor", "cnitool doctor --json"],
  async run({ tool, flags }) {
    if (process.getuid?.() !== 0) {
      tool.terminal.say("Cannot examine the node: that needs root. Run it with sudo.");
      return unable;
    }
    const { terminal, entersPods, cnitool } = tool;
    if (!entersPods && !isPresent(netFolder(tool))) {
      terminal.say(
        `Cannot examine the node from this container: it has no ${netFolder(tool)}. Run it on the node: ${cnitool} doctor`,
      );
      return unable;
    }
    let findings: Finding[];
    try {
      findings = findingsOf(await withCaches(tool, observe));
    } catch (error) {
      const { message, details } = asCniError(error);
      terminal.say(`${message} ${details}`);
      return unable;
    }
    if (!entersPods) {
      terminal.say(
        `The inside of pods was not examined, which this container may not enter. On the node: ${cnitool} doctor`,
      );
    }
    if (flags.has("json")) terminal.json(findings);
    else if (findings.length > 0) for (const line of reportOf(findings)) terminal.line(line);
    if (findings.some(({ severity }) => severity === "error")) return 2;
    return findings.length > 0 ? 1 : 0;
  },
};

function reportOf(findings: readonly Finding[]): string[] {
  const blocks = findings.flatMap(({ id, severity, what, means, fix }) => [
    `${severity}: ${what} [${id}]`,
    `  ${means}`,
    `  Fix: ${fix}`,
    "",
  ]);
  const count = (severity: Finding["severity"]): number =>
    findings.filter((finding) => finding.severity === severity).length;
  const [errors, warnings] = [count("error"), count("warning")];
  const summary = `${errors} ${errors === 1 ? "error" : "errors"}, ${warnings} ${warnings === 1 ? "warning" : "warnings"}`;
  return [...blocks, summary];
}
