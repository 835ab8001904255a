/**
 * flanneld's data path without a lease manager: leases come as lines on stdin. For tests alone.
 *
 *   daemon CONFIG      a JSON text, see StaticConfig
 *
 * It says "ready" and its process id, and answers each line of its input, a Command, with its status.
 */
import { createInterface } from "node:readline";
import { setImmediate, setTimeout } from "node:timers/promises";

import { chooseBackend } from "../../daemons/flanneld/backends/choose.ts";
import type { ExternalInterface } from "../../daemons/flanneld/backends/backend.ts";
import { chooseMacs, readVxlanOptions } from "../../daemons/flanneld/backends/vxlan.ts";
import { OverlayKernel } from "../../daemons/flanneld/overlay_kernel.ts";
import { trafficSubnets } from "../../daemons/flanneld/own_node.ts";
import { Reconciler } from "../../daemons/flanneld/reconciler.ts";
import { TrafficKeeper } from "../../daemons/flanneld/traffic/keeper.ts";
import { Failure } from "../../shared/base/failure.ts";
import type { Json, JsonObject } from "../../shared/base/json.ts";
import type { Lease } from "../../shared/flannel/lease.ts";
import { parseNetConf } from "../../shared/flannel/net_conf.ts";
import type { Address } from "../../shared/net/address.ts";
import { parseAddress } from "../../shared/net/address.ts";
import { parseCidr } from "../../shared/net/cidr.ts";
import { randomMac } from "../../shared/node/random.ts";
import type { LastingSys } from "../../shared/runtime/sys.ts";

/** A lease as a test writes it down. */
export interface WireLease {
  readonly subnet?: string;
  readonly subnetV6?: string;
  readonly publicIp?: string;
  readonly publicIpv6?: string;
  readonly type?: string;
  readonly data?: Json;
  readonly dataV6?: Json;
}

export interface StaticConfig {
  readonly netConf: JsonObject;
  readonly own: WireLease;
  readonly iface: string;
  readonly earlier?: { readonly data?: Json; readonly dataV6?: Json };
  readonly blackholes?: boolean;
  /** Whether it makes rules in the firewall, and which. */
  readonly traffic?: {
    readonly masquerade: boolean;
    readonly forward: boolean;
    readonly unmasqueraded?: readonly string[];
  };
  /** Seconds between two thorough looks at the rules; an hour if it is not given. */
  readonly resync?: number;
  readonly previousNetworks?: readonly string[];
}

export interface Command {
  /** All peers. */
  readonly peers?: Readonly<Record<string, WireLease>>;
  /** Peers that are new or others, or with null gone. */
  readonly change?: Readonly<Record<string, WireLease | null>>;
  readonly complete?: boolean;
}

export async function staticDaemon(sys: LastingSys): Promise<void> {
  const config = JSON.parse(sys.args[0] ?? "{}") as StaticConfig;
  const source = { name: "net-conf.json", choosesSubnets: false };
  const { conf } = parseNetConf(JSON.stringify(config.netConf), source);
  const backend = chooseBackend(conf, {});
  const kernel = new OverlayKernel(sys);
  const networks = { ipv4: conf.network, ipv6: conf.ipv6Network };
  const macs = await untilDone(() =>
    chooseMacs(
      readVxlanOptions(conf.backend),
      { backendData: config.earlier?.data, backendV6Data: config.earlier?.dataV6 },
      (name) => kernel.link(name)?.mac,
      randomMac,
    ),
  );
  const lease = readLease("self", config.own);
  let output = "";
  const say = (line: string): void => {
    output += line;
    sys.write(2, line);
  };
  const log = {
    info: (text: string) => {
      say(`I ${text}\n`);
    },
    warn: (text: string) => {
      say(`W ${text}\n`);
    },
  };
  const reconciler = new Reconciler({
    ...{ sys, kernel, backend, networks, log },
    blackholes: config.blackholes === true,
    previousNetworks: (config.previousNetworks ?? []).map(parseCidr),
    onExternalChange: () => {
      void configure();
    },
    onRefusals: () => {},
  });
  const traffic = new TrafficKeeper({
    ...{
      sys,
      log,
      nftables: conf.enableNftables,
      randomFully: true,
      resync: config.resync ?? 3600,
    },
    onProblem: () => {},
    masquerade: config.traffic?.masquerade === true,
    forward: config.traffic?.forward === true,
    unmasqueraded: (config.traffic?.unmasqueraded ?? []).map(parseCidr),
  });
  if (config.traffic !== undefined) {
    traffic.configure(trafficSubnets(conf, lease));
  }
  const configure = async (): Promise<void> => {
    const external = await untilDone(() => readExternal(kernel, config.iface, lease));
    reconciler.configure({ lease, external, macs, isPublished: true });
  };
  reconciler.start();
  await configure();
  sys.write(1, `ready ${process.pid}\n`);
  const leases = new Map<string, Lease>();
  const texts = new Map<string, string>();
  /** The convergence before the last command: another one is of what that has told. */
  let earlier: number | undefined;
  const put = (id: string, wire: WireLease | null): void => {
    const text = JSON.stringify(wire);
    if (texts.get(id) === text) return;
    texts.set(id, text);
    if (wire === null) leases.delete(id);
    else leases.set(id, readLease(id, wire));
  };
  for await (const line of createInterface({ input: process.stdin })) {
    const { peers, change = {}, complete } = JSON.parse(line) as Command;
    const began = performance.now();
    for (const id of leases.keys()) if (peers !== undefined && !(id in peers)) put(id, null);
    for (const [id, wire] of Object.entries({ ...peers, ...change })) put(id, wire);
    if (complete !== undefined) {
      earlier = reconciler.status.convergence;
      reconciler.setPeers(leases, complete);
    }
    // What can be done at once is done in this turn of the event loop.
    await setImmediate();
    const ms = performance.now() - began;
    const { rss } = process.memoryUsage();
    const { status } = reconciler;
    sys.write(
      1,
      `${JSON.stringify({ ...status, hasTakenOver: status.convergence !== earlier, traffic: traffic.status, macs, rss, ms, output })}\n`,
    );
  }
  reconciler.close();
  traffic.close();
  sys.exit(0);
}

/** A request that the kernel refuses is tried again, as flanneld does. */
async function untilDone<T>(action: () => T): Promise<T> {
  for (;;) {
    try {
      return action();
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
    }
    await setTimeout(20);
  }
}

function address(text: string | undefined): Address | undefined {
  return text === undefined ? undefined : parseAddress(text);
}

function readLease(id: string, wire: WireLease): Lease {
  return {
    id,
    subnet: wire.subnet === undefined ? undefined : parseCidr(wire.subnet),
    subnetV6: wire.subnetV6 === undefined ? undefined : parseCidr(wire.subnetV6),
    since: 0,
    attributes: {
      publicIp: address(wire.publicIp),
      publicIpv6: address(wire.publicIpv6),
      backendType: wire.type ?? "vxlan",
      backendData: wire.data,
      backendV6Data: wire.dataV6,
    },
  };
}

/** The interface with the first address of each family that leads to others. */
function readExternal(
  kernel: OverlayKernel,
  name: string,
  { attributes }: Lease,
): ExternalInterface {
  const link = kernel.link(name);
  if (link === undefined) throw new Failure("missing", `There is no ${name}.`, "");
  const all = kernel.addresses(link.index).map((known) => known.address);
  const addressV4 = all.find(({ family }) => family === 4);
  const addressV6 = all.find(({ family, value }) => family === 6 && value >> 118n !== 0x3fan);
  return {
    ...{ name, index: link.index, mtu: link.mtu, address: addressV4, addressV6 },
    publicIp: attributes.publicIp ?? addressV4,
    publicIpv6: attributes.publicIpv6 ?? addressV6,
  };
}
