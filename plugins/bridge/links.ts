import { CniError, Code } from "../../shared/cni/error.ts";
import type { Link, Lock, Namespace } from "../../shared/node/node.ts";
import { randomBytes, randomMac } from "../../shared/node/random.ts";
import type { Cidr } from "../../shared/net/cidr.ts";
import type { LinkChange } from "../../shared/netlink/change.ts";
import type { BridgeConfig } from "./conf.ts";
import {
  completeVlanLink,
  gatewayLink,
  ownRoutes,
  planBridge,
  planGateways,
  planVlanLink,
  usesVlans,
} from "./plan.ts";
import type { Drawn, SeenBridge } from "./plan.ts";

/** Milliseconds to wait for calls that attach their containers, or give the bridge its address. */
const lockTimeout = 10_000;

type Ends = Pick<Link, "index" | "peer">;

/** The links that all containers of a bridge share: looked at, and made if they are not there. */

/** The names and MACs of a new veth pair. */
export function draw(conf: BridgeConfig): Drawn {
  return {
    hostVeth: `veth${randomBytes(4).toString("hex")}`,
    // Ours rather than the kernel's choice: then it is known without asking, and no other program
    // on the node (udev's MACAddressPolicy) takes it for one that it may replace.
    hostMac: randomMac(),
    containerMac: conf.mac ?? randomMac(),
  };
}

/**
 * The bridge, made if it is not there. When several calls make it at once one of them does, and all
 * of them see the same.
 * @throws CniError Conflict if something else has its name; Kernel
 */
export function ensureBridge(host: Namespace, conf: BridgeConfig): Link {
  let found = host.link(conf.bridge);
  if (found === undefined) {
    host.apply(planBridge(conf, randomMac()));
    found = host.link(conf.bridge);
  } else if ((host.sysctl(ownRoutes(conf).key) ?? "0") !== "0") {
    // Somebody else has made it.
    host.apply([ownRoutes(conf)]);
  }
  if (found === undefined || found.kind !== "bridge") {
    throw new CniError(
      Code.Conflict,
      `Cannot use the bridge ${conf.bridge}: ${found === undefined ? "it is gone again as soon as it is made" : `there is a ${found.kind === "" ? "device" : found.kind} of that name`}.`,
      "Set bridge to another name in the network config, or find out what else on this node uses this one.",
    );
  }
  if (usesVlans(conf) && !found.vlanFiltering) {
    // Its ports are all in its default VLAN, so nothing changes for them.
    host.apply([{ kind: "set-bridge", name: conf.bridge, vlanFiltering: true }]);
  }
  if (!found.up || found.promiscuous !== conf.promiscuous) {
    host.apply([
      {
        kind: "set-link",
        name: conf.bridge,
        up: true,
        ...(conf.promiscuous ? { promiscuous: true } : {}),
      },
    ]);
  }
  return found;
}

/**
 * The link that gets the gateway's addresses: the bridge itself, or for a VLAN the host's own link
 * into it, made if it is not there.
 */
export function ensureGatewayLink(host: Namespace, conf: BridgeConfig, made: Link): Link {
  if (conf.vlan === undefined) return made;
  const name = gatewayLink(conf);
  const found = host.link(name);
  if (found !== undefined) {
    if (!found.up) {
      // Left half made by a call that was killed, or not yet made by one that is at it.
      const port = host.links().find((link) => isPair(found, link));
      host.apply(completeVlanLink(conf, port?.name, made.defaultVlan));
    }
    return found;
  }
  try {
    host.apply(planVlanLink(conf, draw(conf), made.defaultVlan));
  } catch (error) {
    // Another call may have made it in the same instant.
    if (host.link(name) === undefined) throw error;
  }
  const link = host.link(name);
  if (link !== undefined) return link;
  throw new CniError(
    Code.Conflict,
    `Cannot use the VLAN link ${name}: it is gone again as soon as it is made.`,
    "Find out what else on this node deletes links.",
  );
}

/**
 * Gives the bridge, or the host's link into the VLAN, its gateway addresses.
 * @returns the lock under which it has them. It is for the caller to release, as soon as the
 *   container is attached: a bridge without ports is one whose address may be changed.
 * @throws CniError Conflict when it has others that must not be replaced; TryAgainLater; Kernel
 */
export function giveGateways(
  host: Namespace,
  conf: BridgeConfig,
  gateways: readonly Cidr[],
  made: Link,
  gateway: Link,
): Lock {
  const lock = host.lock("shared", lockTimeout);
  try {
    const plan = (): LinkChange[] => planGateways(conf, gateways, seeBridge(host, made, gateway));
    if (plan().length > 0) {
      // Planned anew, for others may have changed it since.
      host.lock("exclusive", lockTimeout);
      host.apply(plan());
    }
    return lock;
  } catch (error) {
    lock.release();
    throw error;
  }
}

function seeBridge(host: Namespace, made: Link, gateway: Link): SeenBridge {
  return {
    addresses: host.addresses(gateway),
    isUnused: () => {
      const links = host.links();
      const vlanLinks = links.filter(({ name }) => name.startsWith(`${made.name}.`));
      return !links.some(
        (port) => port.master === made.index && !vlanLinks.some((link) => isPair(link, port)),
      );
    },
  };
}

/** Whether two links of one namespace are the ends of a veth pair. */
function isPair(one: Ends, other: Ends): boolean {
  return one.peer === other.index && other.peer === one.index;
}

/** Lets the node pass packets on between its links. To write a value that is there costs a lock. */
export function enableForwarding(host: Namespace, family: 4 | 6): void {
  const key = family === 4 ? "net/ipv4/ip_forward" : "net/ipv6/conf/all/forwarding";
  if (host.sysctl(key) === "1") return;
  host.apply([{ kind: "set-sysctl", key, value: "1", optional: false }]);
}
