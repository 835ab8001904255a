/** Looks for traces of the demonstration in this machine's own network. It only reads. */
import { run } from "../../test/lab/process.ts";
import { CLUSTER_NETWORKS } from "./cluster.ts";
import { SUBNETS } from "./node.ts";

const LOOK = `
ip -o address
ip route show table all
ip -6 route show table all
nft list ruleset
# To start these would load the kernel's modules for them.
for ip in ip ip6; do
  if { read -r table <"/proc/net/\${ip}_tables_names"; } 2>/dev/null; then
    "\${ip}tables-legacy-save"
  fi
done
`;

/** @returns the addresses, routes and firewall rules, a line each. */
export async function lookAtMachine(): Promise<string> {
  const { exitCode, stdout, stderr } = await run("sh", ["-ec", LOOK]);
  if (exitCode !== 0) throw new Error(`Cannot look at this machine's network: ${stderr}`);
  return stdout;
}

/**
 * The lines that have come and name the demonstration's subnets, in which every link, route and rule
 * of it has an address. Whatever else has changed is the doing of other programs.
 */
export function newTraces(before: string, after: string): readonly string[] {
  const old = new Set(traces(before));
  return traces(after).filter((line) => !old.has(line));
}

function traces(text: string): readonly string[] {
  return text
    .replaceAll(/counter packets \d+ bytes \d+/g, "counter")
    .split("\n")
    .filter((line) => [...SUBNETS, ...CLUSTER_NETWORKS].some((known) => line.includes(known)))
    .map((line) => line.trim());
}
