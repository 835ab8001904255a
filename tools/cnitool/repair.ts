import type { Command } from "./command.ts";
import { observeAttachments } from "./node/attachments.ts";
import { withCaches } from "./node/caching_node.ts";
import { missingRules } from "./node/missing_rules.ts";
import { podOf } from "./node/plugin_call.ts";

export const repair: Command = {
  name: "repair",
  operands: "",
  summary: "restore the firewall rules that a reload has flushed",
  text: [
    "Checks the rules of every existing pod (host ports, masquerading and",
    "macspoofchk, made by portmap and bridge) and restores missing ones. Rules that",
    "exist stay as they are, so you can run it at any time and as often as you like,",
    "for instance after `systemctl reload firewalld` or `nft -f`.",
    "",
    "It finds pods by the results that runtimes cache in /var/lib/cni/results. Exit",
    "status 1: something could not be checked or restored; stderr says what.",
  ],
  options: { "dry-run": { type: "boolean", text: "list what is missing, and change nothing" } },
  examples: ["cnitool repair --dry-run", "cnitool repair"],
  async run({ tool, flags }) {
    const { node, terminal } = tool;
    const { cached, damaged } = observeAttachments(tool, node.host.links());
    const alive = cached.filter(({ state }) => state === "alive");
    // All are looked at before the first is repaired: that restores the rules that all share, and
    // with them those of the others.
    const found = await withCaches(tool, async (caching) => {
      const all = [];
      for (const attachment of alive)
        all.push({ attachment, ...(await missingRules(caching, attachment, true)) });
      return all;
    });
    const isDry = flags.has("dry-run");
    let failures = damaged.length;
    let count = 0;
    for (const { file, problem } of damaged) {
      terminal.say(
        `Cannot check the rules of the pod in ${file}: the file ${problem}. Delete and recreate the pod.`,
      );
    }
    for (const { attachment, missing, errors } of found) {
      const pod = podOf(attachment) ?? `${attachment.containerId}/${attachment.ifname}`;
      const isNeeded = !isDry && missing.length > 0;
      const failed = isNeeded ? (await missingRules(tool, attachment, false)).errors : [];
      for (const error of [...errors, ...failed]) {
        failures++;
        terminal.say(`${pod}: ${error.message} ${error.details}`);
      }
      if (failed.length > 0) continue;
      count += missing.length;
      for (const what of missing) {
        terminal.line(`${isDry ? "missing" : "restored"}: ${what} of ${pod}`);
      }
    }
    if (count === 0 && failures === 0) terminal.line("No rule is missing.");
    return failures > 0 ? 1 : 0;
  },
};
