import type { Finding } from "../../../shared/preconditions/finding.ts";
import { checkAddresses } from "./checks/addresses.ts";
import { checkAgent } from "./checks/agent.ts";
import { checkBridge } from "./checks/bridge.ts";
import { checkConfigs } from "./checks/configs.ts";
import { checkFirewall } from "./checks/firewall.ts";
import { checkKernel } from "./checks/kernel.ts";
import { checkOverlay } from "./checks/overlay.ts";
import { checkPlugins } from "./checks/plugins.ts";
import { checkPods } from "./checks/pods.ts";
import { checkResults } from "./checks/results.ts";
import type { View } from "./view.ts";

/** The checks, in order: each looks at what the later ones depend on. */
const checks: readonly ((view: View) => Finding[])[] = [
  checkConfigs,
  checkPlugins,
  checkAgent,
  checkKernel,
  checkBridge,
  checkAddresses,
  checkResults,
  checkFirewall,
  checkPods,
  checkOverlay,
  checkFailures,
];

/** All findings, errors first. A precondition that a plugin's STATUS also names appears once. */
export function findingsOf(view: View): Finding[] {
  const found = new Map<string, Finding>();
  for (const finding of checks.flatMap((check) => check(view))) {
    const key = `${finding.id} ${finding.what}`;
    if (!found.has(key)) found.set(key, finding);
  }
  return [...found.values()].toSorted((a, b) => rankOf(a) - rankOf(b));
}

function rankOf({ severity }: Finding): number {
  return severity === "error" ? 0 : 1;
}

/** What could not be looked at. */
function checkFailures({ failures }: View): Finding[] {
  return failures.map(({ subject, message, advice }) => ({
    id: "cannot-look",
    severity: "warning",
    what: `Could not examine all of ${subject}: ${message}`,
    means: "There may be problems that are not listed here.",
    fix: advice,
  }));
}
