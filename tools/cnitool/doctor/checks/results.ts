import type { Finding } from "../../../../shared/preconditions/finding.ts";
import { podOf } from "../../node/plugin_call.ts";
import type { DamagedAttachment } from "../../node/attachments.ts";
import { defaultNetwork } from "../../../../shared/flannel/defaults.ts";
import { quoted } from "../../shell.ts";
import { collecting, keepsResults, some } from "../view.ts";
import type { View } from "../view.ts";

/** The results that runtimes keep, and portmap's records. */
export function checkResults(view: View): Finding[] {
  return [
    ...notWritable(view),
    ...damaged(view),
    ...unrecorded(view),
    ...gone(view),
    ...left(view),
  ];
}

function notWritable({ results: { folder, problem } }: View): Finding[] {
  if (problem === undefined) return [];
  return [
    {
      id: "not-writable",
      severity: "error",
      what: `Cannot write to ${folder}: ${problem}.`,
      means: "No pod can start: the runtime stores each pod's result there.",
      fix: "mount -o remount,rw /var, or check what is at that path",
    },
  ];
}

/** Results that cannot be read: of pods that may be running, or of none that exists. */
function damaged(view: View): Finding[] {
  const [alive, dead] = split(view.damaged, (entry) => mayBeAlive(view, entry));
  const [first] = dead;
  return [
    ...(alive.length === 0
      ? []
      : [
          {
            id: "unreadable-result",
            severity: "warning",
            what: `Cannot read the cached results of these pods: ${listed(alive)}.`,
            means:
              "The runtime can neither CHECK these pods nor clean up fully after them. They may be running, so they count as alive.",
            fix: `recreate these pods (kubectl delete pod): ${some(alive.flatMap(({ candidates }) => candidates.map(({ containerId }) => containerId)))}`,
          } as const,
        ]),
    ...(first === undefined
      ? []
      : [
          {
            id: "damaged-result",
            severity: "warning",
            what: `These files are not results of an ADD and belong to no pod: ${listed(dead)}.`,
            means: "The runtime logs an error each time it reads them.",
            fix: `rm ${quoted(first.file)}`,
          } as const,
        ]),
  ];
}

/**
 * Whether a damaged result may belong to a running pod: an address is reserved for it, or there is
 * a pod without a result.
 */
function mayBeAlive({ bridge }: View, { reserved, candidates }: DamagedAttachment): boolean {
  if (candidates.length === 0) return false;
  return reserved.length > 0 || (bridge?.strayPorts ?? []).some(({ peer }) => peer !== "node");
}

function listed(files: readonly DamagedAttachment[]): string {
  return some(files.map(({ file, problem }) => `${file} (it ${problem})`));
}

/** Pods with an address but without a result. */
function unrecorded(view: View): Finding[] {
  if (!keepsResults(view)) return [];
  const found = view.unrecorded.filter(({ namespace }) => namespace !== undefined);
  if (found.length === 0) return [];
  // A pod may have several addresses.
  const ids = [...new Set(found.map(({ containerId }) => containerId))];
  const names = new Set(
    found.map(({ containerId, namespace }) => `${containerId} (${namespace?.path})`),
  );
  return [
    {
      id: "missing-result",
      severity: "warning",
      what: `Pods are attached but have no cached result: ${some([...names])}.`,
      means:
        "The runtime does not know that they are attached. Their addresses are in use, so they count as alive.",
      fix: `recreate these pods (kubectl delete pod): ${some(ids)}`,
    },
  ];
}

/** Attachments whose namespace is gone. */
function gone(view: View): Finding[] {
  const { cached, configs } = view;
  const { network } = configs;
  const found = cached.filter(
    (attachment) => attachment.state === "gone" && attachment.network === network?.name,
  );
  if (found.length === 0 || network === undefined) return [];
  return [
    {
      id: "pod-gone",
      severity: "warning",
      what: `Pods are gone, but nobody ran DEL for them: ${some(found.map((attachment) => podOf(attachment) ?? attachment.containerId))}.`,
      means: "Their addresses, firewall rules and cached results are left over.",
      fix: collecting(view, network.name),
    },
  ];
}

function left(view: View): Finding[] {
  const { leftovers, configs } = view;
  if (leftovers === 0) return [];
  return [
    {
      id: "rules-left",
      severity: "warning",
      what: `portmap could not delete the firewall rules of ${String(leftovers)} containers.`,
      means: "Their host ports lead nowhere. Every later portmap call tries again.",
      fix: collecting(view, configs.network?.name ?? defaultNetwork),
    },
  ];
}

function split<T>(all: readonly T[], test: (item: T) => boolean): [T[], T[]] {
  return [all.filter(test), all.filter((item) => !test(item))];
}
