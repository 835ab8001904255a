import type { Command } from "./command.ts";
import { attachments, podOf } from "./node/attachments.ts";
import { caching } from "./node/caching_firewall.ts";
import { lostRules } from "./node/missing_rules.ts";
import type { Lost } from "./node/missing_rules.ts";

export const repair: Command = {
  name: "repair",
  operands: "",
  summary: "put back the firewall rules that a reload has flushed",
  text: [
    "Looks at the rules of every pod that is there: host ports, masquerading and",
    "macspoofchk, of portmap and bridge, and puts back those that are missing.",
    "What is there stays as it is, so it can be called at any time and as often as",
    "you like, for instance after `systemctl reload firewalld` or `nft -f`.",
    "",
    "Pods are known by the results that runtimes keep in /var/lib/cni/results. Exit",
    "status 1 says that something could not be put back; it is said on stderr.",
  ],
  options: { "dry-run": { type: "boolean", text: "say what is missing, and change nothing" } },
  examples: ["cnitool repair --dry-run", "cnitool repair"],
  async run({ tool, flags }) {
    const all = attachments(tool.node).filter(({ isAlive }) => isAlive);
    const looked: Lost[] = [];
    // All are looked at before the first is mended: the rules that all share are made with it, and
    // with those the ones of the others.
    const eyes = caching(tool);
    for (const one of all) looked.push(await lostRules(eyes, one, true));
    const isDry = flags.has("dry-run");
    let failed = false;
    let count = 0;
    for (const [at, one] of all.entries()) {
      const { missing = [], errors = [] } = looked[at] ?? {};
      const pod = podOf(one) ?? `${one.containerId}/${one.ifname}`;
      const mended =
        isDry || missing.length === 0 ? [] : (await lostRules(tool, one, false)).errors;
      for (const error of new Set([...errors, ...mended])) {
        failed = true;
        tool.terminal.say(`${pod}: ${error.message} ${error.details}`);
      }
      if (mended.length > 0) continue;
      count += missing.length;
      for (const what of missing)
        tool.terminal.line(`${isDry ? "missing" : "put back"}: ${what} of ${pod}`);
    }
    if (count === 0 && !failed) tool.terminal.line("No rule is missing.");
    return failed ? 1 : 0;
  },
};
