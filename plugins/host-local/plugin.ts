import { CniError, Code } from "../../shared/cni/error.ts";
import type { Context, Plugin } from "../../shared/cni/plugin.ts";
import type { Attachment } from "../../shared/cni/request.ts";
import type { Result } from "../../shared/cni/result.ts";
import { formatAddress } from "../../shared/net/address.ts";
import type { Address } from "../../shared/net/address.ts";
import { assignRequests, candidates } from "./allocate.ts";
import type { Candidate } from "./allocate.ts";
import { parseConf } from "../../shared/ipam/conf.ts";
import type { HostLocalConfig } from "../../shared/ipam/conf.ts";
import { checkReserved } from "../../shared/ipam/check.ts";
import { capacity, describe, isGateway, rangeOf, setOf } from "../../shared/ipam/ranges.ts";
import type { RangeSet } from "../../shared/ipam/ranges.ts";
import { isTaken, ownedByNone } from "../../shared/ipam/reservation.ts";
import type { Reservation } from "../../shared/ipam/reservation.ts";
import { readResolvConf } from "./resolv_conf.ts";
import { Store } from "../../shared/ipam/store.ts";
import { validateHostLocal } from "../../schemas/generated/validators.js";

type Call = Context<HostLocalConfig>;

/**
 * Gives a pod one address of each range set. It keeps the reserved ones on the node's disk, in the same
 * files as the reference plugin of this name.
 */
export const hostLocal: Plugin<HostLocalConfig> = {
  name: "host-local",
  validator: validateHostLocal,
  parse: parseConf,
  add,
  del,
  check,
  gc,
  status,
};

async function add(call: Call): Promise<Result> {
  const { conf, request } = call;
  const wanted = assignRequests(conf.rangeSets, conf.requested);
  const dns = conf.resolvConf === undefined ? {} : readResolvConf(conf.resolvConf);
  const store = new Store(conf.folder, call.node);
  const ips = store.exclusive(() => {
    store.tidy();
    const reserved = store.ownedBy(
      request,
      (address) => setOf(conf.rangeSets, address) !== undefined,
    );
    refuseSecond(reserved, request);
    return conf.rangeSets.map((set, index) =>
      reserveOne(call, store, { set, index, requested: wanted[index] }),
    );
  });
  return { interfaces: [], ips, routes: conf.routes, dns };
}

async function del({ conf, request, node }: Call): Promise<void> {
  const store = new Store(conf.folder, node);
  // Looking takes no lock, so that a repeated DEL waits for nobody.
  store.release(store.ownedBy(request));
  store.sweep();
}

async function check({ conf, request, prevResult, node }: Call): Promise<void> {
  const reserved = new Store(conf.folder, node).ownedBy(request);
  checkReserved(conf, request, prevResult?.ips ?? [], reserved);
}

async function gc({ conf, node }: Call, valid: readonly Attachment[]): Promise<void> {
  const store = new Store(conf.folder, node);
  store.release(ownedByNone(store.read(), valid));
  store.sweep();
}

async function status({ conf, node }: Call): Promise<void> {
  const store = new Store(conf.folder, node);
  const problem = store.problem();
  if (problem !== undefined) {
    throw new CniError(
      Code.PluginNotAvailable,
      `Cannot reserve addresses in ${conf.folder}: ${problem}.`,
      "Make the disk writable, and move away any file in a folder's place.",
    );
  }
  for (const [index, set] of conf.rangeSets.entries()) {
    const belongs = (address: Address) =>
      rangeOf(set, address) !== undefined && !isGateway(set, address);
    // Counting names is cheap. Whose they are matters only if all addresses have a file.
    if (BigInt(store.addresses().filter(belongs).length) < capacity(set)) continue;
    const taken = store.read(belongs).filter(isTaken);
    if (BigInt(taken.length) >= capacity(set)) {
      throw exhausted(conf, Code.LimitedConnectivity, set, index);
    }
  }
}

interface Wanted {
  readonly set: RangeSet;
  /** The set's place in the config. */
  readonly index: number;
  /** The one address to give, if one was requested of the set. */
  readonly requested: Candidate | undefined;
}

/**
 * Reserves an address of a set.
 * @throws CniError Exhausted, or Conflict if another container has the requested one.
 */
function reserveOne(call: Call, store: Store, { set, index, requested }: Wanted): Candidate {
  const choice =
    requested === undefined
      ? candidates(set, {
          last: store.lastReserved(index),
          released: store.released(),
          taken: store.presence(),
        })
      : [requested];
  for (const candidate of choice) {
    const { address } = candidate.address;
    const reservation = store.reserve(address, call.request);
    if (reservation === undefined) continue;
    call.undo.push(`the reservation of ${formatAddress(address)}`, () => {
      store.release([reservation]);
    });
    store.setLastReserved(index, address);
    return candidate;
  }
  if (requested === undefined) throw exhausted(call.conf, Code.Exhausted, set, index);
  const address = formatAddress(requested.address.address);
  throw new CniError(
    Code.Conflict,
    `Cannot give container ${call.request.containerId} the requested ${address}: another container has it.`,
    `The file ${call.conf.folder}/${address} says which. Request another address, or delete that container.`,
  );
}

function refuseSecond(reserved: readonly Reservation[], { containerId, ifname }: Attachment): void {
  if (reserved.length === 0) return;
  const addresses = reserved.map(({ address }) => formatAddress(address)).join(", ");
  throw new CniError(
    Code.AlreadyAllocated,
    `Cannot give container ${containerId} an address for ${ifname}: it already has ${addresses}.`,
    "The runtime must DEL a container's interface before it ADDs it again.",
  );
}

function exhausted(
  { folder }: HostLocalConfig,
  code: typeof Code.Exhausted | typeof Code.LimitedConnectivity,
  set: RangeSet,
  index: number,
): CniError {
  const all = capacity(set);
  return new CniError(
    code,
    `Cannot give an address of range set ${String(index)} (${describe(set)}): all ${String(all)} are reserved.`,
    `Delete pods, or give the node a larger range. If fewer than ${String(all)} pods run, some files in ${folder} belong to pods that are gone: let the runtime run a GC.`,
  );
}
