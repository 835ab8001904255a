import { openContainerNetns } from "../../shared/cni/container_netns.ts";
import type { Context } from "../../shared/cni/plugin.ts";
import { emptyResult } from "../../shared/cni/result.ts";
import type { Result } from "../../shared/cni/result.ts";
import { Failure } from "../../shared/base/failure.ts";
import type { Masquerade } from "../../shared/firewall/masquerade.ts";
import type { Cidr } from "../../shared/net/cidr.ts";
import type { LockKind, Namespace } from "../../shared/node/node.ts";
import { randomBytes, randomMac, randomPortMac } from "../../shared/node/random.ts";
import { applyPhases } from "./apply.ts";
import type { BridgeConfig } from "./conf.ts";
import { layer3, noLayer3 } from "./layer3.ts";
import type { Layer3 } from "./layer3.ts";
import { addMasquerade, removeMasquerade } from "./masquerade.ts";
import { observe } from "./observe.ts";
import { planAdd, planPair } from "./plan.ts";
import type { AddPlan, VethPair, NewLinks, Place } from "./plan.ts";
import { addResult } from "./result.ts";
import { addSpoofRules, removeSpoofRules } from "./spoof_check.ts";

/** Milliseconds to wait for other calls that work on the same bridge. */
const lockTimeout = 10_000;
/** How often to look again because another program made or deleted a link meanwhile. */
const attempts = 3;
const EEXIST = 17;
const ENODEV = 19;

type AddContext = Context<BridgeConfig>;

/** Connects a container to the bridge. @throws CniError, Failure */
export async function add(context: AddContext): Promise<Result> {
  const { conf, node, request, undo, warn } = context;
  const { ifname, netns } = request;
  // Opened first, so that a wrong namespace costs no address.
  const container = openContainerNetns(context);
  const ipam = conf.ipam === undefined ? emptyResult : await addAddresses(context, conf.ipam);
  const net = conf.ipam === undefined ? noLayer3 : layer3(conf, ipam);
  const namespaces = { host: node.host, container };
  const newLinks = nameLinks(conf);
  const { pair } = newLinks;
  container.apply(planPair(conf, ifname, pair));
  const index = container.indexOf(ifname);
  undo.push(`the veth pair ${ifname} and ${pair.hostVeth}`, () => {
    container.apply([{ kind: "delete-link", name: ifname, index }]);
  });
  const plan = attach(context, net, newLinks, namespaces);
  if (conf.macSpoofCheck) checkSpoofing(context, pair);
  applyPhases(plan.configure, namespaces, warn);
  if (conf.ipMasq && net.ips.length > 0) masquerade(context, net, container);
  applyPhases(plan.announce, namespaces, warn);
  return addResult(conf, ipam, net, { ...plan, pair, ifname, netns });
}

async function addAddresses({ delegate, raw, undo }: AddContext, ipam: string): Promise<Result> {
  const result = await delegate.add(ipam, raw);
  undo.push("the container's address", () => delegate.del(ipam, raw));
  return result;
}

/**
 * Chooses random names and MACs for what an ADD may make, except for a MAC that the config asks for.
 */
function nameLinks(conf: BridgeConfig): NewLinks {
  return {
    pair: newPair(conf.mac),
    bridgeMac: randomMac(),
    vlanPair: newPair(undefined),
  };
}

function newPair(containerMac: string | undefined): VethPair {
  return {
    hostVeth: `veth${randomBytes(4).toString("hex")}`,
    // Ours, not the kernel's choice: so it is known without asking, and no other program on the node
    // (udev's MACAddressPolicy) replaces it.
    hostMac: randomPortMac(),
    containerMac: containerMac ?? randomMac(),
  };
}

/**
 * Looks at the node, plans, and makes the container's veth a port of the bridge, under the bridge's
 * lock: while a bridge has no ports, another call may change its address. Calls that change only their
 * own links run at the same time; one that changes more takes the lock exclusively and looks again.
 * @throws CniError Conflict if the bridge must not be changed; Failure
 */
function attach(
  { conf, node, request, warn }: AddContext,
  net: Layer3,
  newLinks: NewLinks,
  namespaces: Readonly<Record<Place, Namespace>>,
): AddPlan {
  const tryPlan = (isAlone: boolean, isLast: boolean): AddPlan | undefined => {
    const observed = observe(node.host, conf, net.gateways);
    const plan = planAdd(conf, request.ifname, net, newLinks, observed);
    if (plan.changesCommon && !isAlone) return undefined;
    try {
      applyPhases(plan.attach, namespaces, warn);
      return plan;
    } catch (error) {
      if (isLast || !isOutdated(error)) throw error;
      return undefined;
    }
  };
  const underLock = <T>(kind: LockKind, action: () => T): T => {
    const lock = node.namedLock(`bridge ${conf.bridge}`, lockTimeout, kind);
    try {
      return action();
    } finally {
      lock.release();
    }
  };
  const plan = underLock("shared", () => tryPlan(false, false));
  if (plan !== undefined) return plan;
  return underLock("exclusive", () => {
    for (let left = attempts; ; left--) {
      const found = tryPlan(true, left === 1);
      if (found !== undefined) return found;
    }
  });
}

/** Whether a change failed because a link was made or deleted since the node was looked at. */
function isOutdated(error: unknown): boolean {
  return error instanceof Failure && (error.errno === EEXIST || error.errno === ENODEV);
}

/** Lets the container send with its own MAC alone. */
function checkSpoofing({ firewall, request, undo }: AddContext, pair: VethPair): void {
  const attachment = { containerId: request.containerId, ifname: request.ifname };
  undo.push("the rules of macspoofchk", () => {
    removeSpoofRules(firewall, attachment);
  });
  addSpoofRules(firewall, attachment, pair);
}

function masquerade(context: AddContext, { ips }: Layer3, container: Namespace): void {
  const { conf, request, undo } = context;
  const wanted = masqueradeOf(context);
  undo.push("the masquerading rules", () => {
    removeMasquerade(context, wanted);
  });
  const addresses = ips.map(({ address }) => address);
  const otherAddresses = (): Cidr[] =>
    container
      .links()
      .filter(({ name }) => name !== request.ifname && name !== "lo")
      .flatMap((link) => container.addresses(link));
  addMasquerade(context, conf, wanted, addresses, otherAddresses);
}

/** The container and interface whose masquerading a call is about. */
export function masqueradeOf({ conf, request }: AddContext): Masquerade {
  return { network: conf.network, containerId: request.containerId, ifname: request.ifname };
}
