/** The firewall rules of host ports, for people to read. */
import type { Sandbox } from "../../test/lab/sandbox.ts";
import type { Pod } from "./pods.ts";

/** The rules that a packet to the first pod's host ports passes, in order and shortened. */
export async function describeRules(
  sandbox: Sandbox,
  [pod, ...otherPods]: readonly Pod[],
): Promise<readonly string[]> {
  const [rules, rules6] = [await hostPortRules(sandbox, 4), await hostPortRules(sandbox, 6)];
  const goal = `--to-destination ${pod?.addresses[0]}:`;
  const own = /-A (CNI-DN-\S+)/.exec(rules.find((rule) => rule.includes(goal)) ?? "")?.[1] ?? "";
  const shown = [
    ...["PREROUTING", "OUTPUT", "CNI-HOSTPORT-DNAT", own],
    ...["CNI-HOSTPORT-SETMARK", "POSTROUTING", "CNI-HOSTPORT-MASQ"],
  ].flatMap((chain) => rules.filter((rule) => rule.startsWith(`-A ${chain} `)));
  const text = shown
    .filter((rule) => rule.includes(own) || !rule.includes("CNI-DN-"))
    .map((rule) =>
      rule
        .replace(/-m comment --comment "(\\"|[^"])*" /, "")
        .replace(/-m (tcp|udp|multiport) /, "")
        .replace(/(CNI-DN-[0-9a-f]{6})[0-9a-f]+/, "$1…")
        .replace(/^-A (\S+)/, (_, chain: string) => chain.padEnd(20)),
    );
  const rest = rules.length + rules6.length - text.length;
  const names = otherPods.map(({ namespace }) => namespace.name).join(", ");
  const localnet = await sandbox.sysctl("net/ipv4/conf/cni0/route_localnet");
  return [
    ...text,
    `and ${rest} more, for ${names} and for IPv6; net.ipv4.conf.cni0.route_localnet=${localnet}`,
  ];
}

async function hostPortRules(sandbox: Sandbox, family: 4 | 6): Promise<readonly string[]> {
  const saved = await sandbox.iptablesSave(family);
  return saved.split("\n").filter((line) => /^-A .*CNI-(HOSTPORT|DN)-/.test(line));
}
