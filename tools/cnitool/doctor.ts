import { asCniError } from "../../shared/cni/error.ts";
import type { Command } from "./command.ts";
import { checkAddresses } from "./doctor/addresses.ts";
import { checkBridge } from "./doctor/bridge.ts";
import { checkConfigs } from "./doctor/configs.ts";
import type { Finding } from "./doctor/finding.ts";
import { checkKernel } from "./doctor/kernel.ts";
import { checkPlugins } from "./doctor/plugins.ts";
import { checkPods } from "./doctor/pods.ts";
import { checkRules } from "./doctor/rules.ts";
import { viewOf } from "./doctor/view.ts";
import type { View } from "./doctor/view.ts";
import { withCaches } from "./node/caching_node.ts";

/** The exit status when nothing could be looked at. */
const unable = 3;

/** What is looked at, in the order in which it is needed by what comes after. */
const checks: Readonly<Record<string, (view: View) => Finding[] | Promise<Finding[]>>> = {
  "network configs": checkConfigs,
  plugins: checkPlugins,
  "the kernel's settings": checkKernel,
  "the bridge": checkBridge,
  addresses: checkAddresses,
  "firewall rules": checkRules,
  pods: checkPods,
};

export const doctor: Command = {
  name: "doctor",
  operands: "",
  summary: "look for what is wrong with this node's pod network",
  text: [
    "Looks at the network config, the plugins, subnet.env, the kernel's settings, the",
    "bridge, addresses, firewall rules and each pod's network. For each thing that is",
    "wrong it prints what it saw, what that means for pods, and the command that",
    "mends it. It changes nothing, and on a healthy node it prints nothing.",
    "",
    "Exit status: 0 healthy, 1 warnings alone, 2 at least one error,",
    "3 the node could not be looked at.",
  ],
  options: { json: { type: "boolean", text: "print a JSON array of the findings" } },
  examples: ["cnitool doctor", "cnitool doctor --json"],
  async run({ tool, flags }) {
    if (process.getuid?.() !== 0) {
      tool.terminal.say("Cannot look at the node: that needs root. Run it with sudo.");
      return unable;
    }
    let findings: Finding[];
    try {
      findings = await withCaches(tool, async (caching) => examine(await viewOf(caching)));
    } catch (error) {
      const { message, details } = asCniError(error);
      tool.terminal.say(`${message} ${details}`);
      return unable;
    }
    if (flags.has("json")) tool.terminal.json(findings);
    else if (findings.length > 0) for (const line of reportOf(findings)) tool.terminal.line(line);
    if (findings.some(({ severity }) => severity === "error")) return 2;
    return findings.length > 0 ? 1 : 0;
  },
};

/** All findings, errors first. What cannot be looked at is one, too. */
async function examine(view: View): Promise<Finding[]> {
  const findings: Finding[] = [];
  for (const [subject, check] of Object.entries(checks)) {
    try {
      findings.push(...(await check(view)));
    } catch (error) {
      const { message, details } = asCniError(error);
      findings.push({
        id: "cannot-look",
        severity: "warning",
        what: `Not all could be seen of ${subject}: ${message}`,
        means: "There may be more wrong than is said here.",
        mend: details,
      });
    }
  }
  return findings.toSorted((one, other) => rankOf(one) - rankOf(other));
}

function rankOf({ severity }: Finding): number {
  return severity === "error" ? 0 : 1;
}

function reportOf(findings: readonly Finding[]): string[] {
  const blocks = findings.flatMap(({ id, severity, what, means, mend }) => [
    `${severity}: ${what} [${id}]`,
    `  ${means}`,
    `  To mend it: ${mend}`,
    "",
  ]);
  const count = (severity: Finding["severity"]): number =>
    findings.filter((finding) => finding.severity === severity).length;
  const [errors, warnings] = [count("error"), count("warning")];
  const summary = `${errors} ${errors === 1 ? "error" : "errors"}, ${warnings} ${warnings === 1 ? "warning" : "warnings"}`;
  return [...blocks, summary];
}
