import { messageOf } from "../../shared/base/failure.ts";
import type { Cidr } from "../../shared/net/cidr.ts";
import type { OverlayChange } from "../../shared/netlink/overlay_change.ts";
import type { Link } from "../../shared/netlink/query.ts";
import type { WantedDevice } from "./backends/backend.ts";
import { ipipDevice } from "./backends/ipip.ts";
import { udpDevice } from "./backends/udp.ts";
import { wireguardDevices } from "./backends/wireguard.ts";
import { isFlannels, planDevice, staleDevices } from "./device_plan.ts";
import { plannedDevice } from "./overlay_kernel.ts";
import type { OverlayKernel } from "./overlay_kernel.ts";

/** How often the result of changes is looked at, before the rest waits for the next time. */
const rounds = 6;

/** The state of the devices afterwards. */
export interface DevicesSeen {
  /** Indexes of the wanted ones that are there, by their names. */
  readonly indexes: ReadonlyMap<string, number>;
  /** Indexes of all that have a name of flannel's, wanted or not. */
  readonly all: ReadonlySet<number>;
  /** What was changed, in words. */
  readonly changes: readonly OverlayChange[];
  /** Why a device is not as it should be. */
  readonly problems: readonly string[];
  /** What of the interface that packets leave by the devices depend on; undefined without one. */
  readonly parent: string | undefined;
}

/**
 * Makes the devices as they should be, and looks again after each change.
 * @param parent the interface that packets leave by; undefined while there is none.
 * @param networkOf the network of a device's family.
 * @throws Failure kernel if nothing can be read.
 */
export function keepDevices(
  kernel: OverlayKernel,
  wanted: readonly WantedDevice[],
  parent: string,
  networkOf: (device: WantedDevice) => Cidr | undefined,
): DevicesSeen {
  const changes: OverlayChange[] = [];
  const problems: string[] = [];
  for (const device of wanted) {
    const network = networkOf(device);
    if (network === undefined) continue;
    const problem = keepDevice(kernel, device, parent, network, changes);
    if (problem !== undefined) problems.push(problem);
  }
  const links = devicesOf(kernel, wanted);
  const indexes = new Map(
    wanted.flatMap(({ name }) => {
      const found = links.find((link) => link.name === name);
      if (kernel.isDry) return [[name, found?.index ?? plannedDevice] as const];
      return found?.up === true ? [[name, found.index] as const] : [];
    }),
  );
  const all = new Set(links.map(({ index }) => index));
  for (const device of wanted) refuseAdvertisements(kernel, device, problems);
  const lower = wanted.length === 0 ? undefined : kernel.link(parent);
  return { indexes, all, changes, problems, parent: lower && `${lower.index} ${lower.mtu}` };
}

/** The devices of flannel's, and those that have the names of wanted ones. */
function devicesOf(kernel: OverlayKernel, wanted: readonly Pick<WantedDevice, "name">[]): Link[] {
  const vxlans = kernel.vxlans();
  const names = new Set([
    ...[udpDevice, ipipDevice, ...Object.values(wireguardDevices)],
    ...wanted.map(({ name }) => name),
  ]);
  const tunnels = [...names]
    .filter((name) => vxlans.every((link) => link.name !== name))
    .flatMap((name) => kernel.link(name) ?? []);
  return [...vxlans, ...tunnels].filter(({ name, kind }) => isFlannels(name, kind));
}

/** @returns why the device is not as it should be, if so. */
function keepDevice(
  kernel: OverlayKernel,
  wanted: WantedDevice,
  parent: string,
  network: Cidr,
  done: OverlayChange[],
): string | undefined {
  let hard = false;
  for (let round = 0; round < rounds; round++) {
    const lower = kernel.link(parent);
    if (lower === undefined) {
      return `Cannot create ${wanted.name}: there is no interface ${parent}. Bring it back, or name another with --iface.`;
    }
    const vxlans = wanted.kind === "vxlan" ? kernel.vxlans() : [];
    const sameName = vxlans.find(({ name }) => name === wanted.name) ?? kernel.link(wanted.name);
    const observed = {
      parent: lower,
      vxlans,
      ipips: wanted.kind === "ipip" ? kernel.ipips() : [],
      wireguard:
        wanted.kind === "wireguard" && sameName?.kind === "wireguard"
          ? kernel.wireguard(sameName.index)
          : undefined,
      sameName,
      addresses: sameName === undefined ? [] : kernel.addresses(sameName.index),
    };
    const changes = planDevice(wanted, observed, network, hard);
    if (changes.length === 0) return undefined;
    const outcomes = kernel.execute(changes);
    done.push(...changes.filter((_, at) => outcomes[at]?.errno === 0));
    if (kernel.isDry) return undefined;
    const failed = outcomes.find(({ errno }) => errno !== 0);
    if (failed !== undefined && hard) return failed.problem;
    hard ||= failed !== undefined;
  }
  return `Cannot keep ${wanted.name} as it should be: something else on this node changes it as well. Tell the program that manages the network to leave flannel's devices alone.`;
}

/** A router's advertisement must not give the device an address or a route. */
function refuseAdvertisements(
  kernel: OverlayKernel,
  { name }: WantedDevice,
  problems: string[],
): void {
  const key = `net/ipv6/conf/${name}/accept_ra`;
  try {
    if ((kernel.sysctl(key) ?? "0") !== "0") kernel.setSysctl(key, "0");
  } catch (error) {
    problems.push(messageOf(error));
  }
}

/** Deletes devices of flannel's that are not wanted. @returns them. */
export function deleteStaleDevices(
  kernel: OverlayKernel,
  wanted: readonly Pick<WantedDevice, "name">[],
  networks: readonly Cidr[],
): readonly Link[] {
  const addressesOf = (index: number): readonly Cidr[] => kernel.addresses(index);
  const stale = staleDevices(devicesOf(kernel, wanted), wanted, addressesOf, networks);
  if (stale.length > 0) {
    kernel.execute(stale.map(({ index, name }) => ({ kind: "delete-device", index, link: name })));
  }
  return stale;
}
