/** A node whose bridges filter VLANs: on this machine's kernel, or in a virtual machine. */
import { join } from "node:path";
import { startVm, vmProblem } from "../lab/vm.ts";
import { binDir, cniOk, createSandbox, referenceDir } from "./cni.ts";
import type { CniJson, Conf, Namespace } from "./cni.ts";

export type Pod = Omit<Namespace, "start">;

/** A node as these tests need it. */
export interface VlanNode extends Pod {
  addPod(name: string): Promise<Pod>;
  [Symbol.asyncDispose](): Promise<void>;
}

/** Makes nodes, and knows where the plugins are on them. */
export interface VlanMachine {
  readonly ours: string;
  readonly reference: string;
  createNode(): Promise<VlanNode>;
  [Symbol.asyncDispose](): Promise<void>;
}

/** The machine, or why it cannot be made. */
export async function vlanMachine(): Promise<VlanMachine | string> {
  const ours = binDir();
  const reference = referenceDir();
  if (await knowsVlans()) {
    const [createNode, dispose] = [createSandbox, async () => Promise.resolve()];
    return { ours, reference, createNode, [Symbol.asyncDispose]: dispose };
  }
  const problem = await vmProblem();
  if (problem !== undefined) return problem;
  const folders = { ours: "/opt/ours", reference: "/opt/reference" };
  const vm = await startVm({
    [folders.ours]: pathsIn(ours),
    [folders.reference]: pathsIn(reference),
  });
  return { ...folders, ...vm };
}

/** No more than these tests call: the virtual machine has to unpack them when it boots. */
function pathsIn(folder: string): readonly string[] {
  return ["bridge", "host-local"].map((name) => join(folder, name));
}

async function knowsVlans(): Promise<boolean> {
  await using sandbox = await createSandbox();
  const probe = ["link", "add", "probe", "type", "bridge", "vlan_filtering", "1"];
  return (await sandbox.exec("ip", probe)).exitCode === 0;
}

/** Adds a new pod to the network; `port` is its link on the node. */
export async function addPod(node: VlanNode, bin: string, name: string, conf: Conf) {
  const pod = await node.addPod(name);
  const attachment = { bin, plugin: "bridge", containerId: name, netns: pod.netnsPath, conf };
  const result: CniJson = await cniOk(node, { ...attachment, command: "ADD" });
  const address = result.ips?.[0]?.address.split("/")[0] ?? "";
  const port = result.interfaces?.[1]?.name ?? "";
  const withResult = { ...attachment, conf: { ...conf, prevResult: result } };
  return { pod, attachment, withResult, result, address, port };
}

/** The VLANs of each link of a bridge, as "100 PVID Egress Untagged". */
export async function vlansOf(node: VlanNode): Promise<Readonly<Record<string, string[]>>> {
  const links = JSON.parse(await node.output("bridge", ["-j", "vlan", "show"])) as readonly {
    ifname: string;
    vlans: readonly { vlan: number; vlanEnd?: number; flags?: readonly string[] }[];
  }[];
  return Object.fromEntries(
    links.map(({ ifname, vlans }) => [
      ifname,
      vlans.map(({ vlan, vlanEnd, flags = [] }) =>
        [vlanEnd === undefined ? vlan : `${vlan}-${vlanEnd}`, ...flags].join(" "),
      ),
    ]),
  );
}

/** The VLANs of each of a bridge's ports, without their names. */
export async function portsOf(node: VlanNode, bridge: string): Promise<readonly string[][]> {
  const vlans = await vlansOf(node);
  const ports = (await node.links()).filter(({ master }) => master === bridge);
  const found = ports.map(({ ifname }) => vlans[ifname] ?? []);
  return found.toSorted((a, b) => a.join().localeCompare(b.join()));
}

/** Those of the addresses that answer a pod. All are asked at once. */
export async function reached(pod: Pod, addresses: readonly string[]): Promise<readonly string[]> {
  const output = await pod.sh(
    `for address in ${addresses.join(" ")}; do
      (ping -n -c 1 -w 4 -i 0.2 $address > /dev/null && echo $address) &
    done
    wait`,
  );
  return addresses.filter((address) => output.split("\n").includes(address));
}

/**
 * Which pods see the ARP requests that others send for addresses that nobody has.
 * @param sent pod → the address that it asks for.
 * @returns pod → the addresses that others asked for, as it saw them.
 */
export async function heard(
  node: VlanNode,
  pods: readonly string[],
  sent: Readonly<Record<string, string>>,
): Promise<Readonly<Record<string, readonly string[]>>> {
  const asks = Object.entries(sent).map(
    ([pod, address]) =>
      `(nsenter --net=/run/netns/${pod} ping -n -c 3 -w 3 ${address} > /dev/null || true) & pings="$pings $!"`,
  );
  const output = await node.sh(
    `mkdir -p /run/heard
    cd /run/heard
    rm -f *
    for pod in ${pods.join(" ")}; do
      nsenter --net=/run/netns/$pod tcpdump -Z root -n -l -i eth0 arp > $pod 2> $pod.log & dumps="$dumps $!"
    done
    for pod in ${pods.join(" ")}; do
      tries=0
      until grep -q listening $pod.log; do
        sleep 0.1
        tries=$((tries + 1))
        [ $tries -lt 200 ] || { cat $pod.log >&2; exit 1; }
      done
    done
    ${asks.join("\n")}
    wait $pings
    kill $dumps
    wait
    grep -H who-has ${pods.join(" ")} || true`,
  );
  const lines = output.split("\n");
  const saw = (pod: string, address: string): boolean =>
    lines.some((line) => line.startsWith(`${pod}:`) && line.includes(`who-has ${address} `));
  const asked = Object.values(sent);
  return Object.fromEntries(pods.map((pod) => [pod, asked.filter((address) => saw(pod, address))]));
}
