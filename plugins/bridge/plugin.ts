import { asCniError, type CniError, joinErrors } from "../../shared/cni/error.ts";
import type { Context, Plugin } from "../../shared/cni/plugin.ts";
import type { Link, Namespace } from "../../shared/node/node.ts";
import { withContainer } from "../../shared/node/namespaces.ts";
import { ifnameProblem } from "../../shared/cni/request.ts";
import type { Request } from "../../shared/cni/request.ts";
import type { Result } from "../../shared/cni/result.ts";
import { findContainerNetns, openContainerNetns } from "../../shared/cni/container_netns.ts";
import type { Cidr } from "../../shared/net/cidr.ts";
import { add, masqueradeOf } from "./add.ts";
import { checkContainer } from "./check.ts";
import { gatewayLink, parseBridgeConf } from "./conf.ts";
import type { BridgeConfig } from "./conf.ts";
import { collectMasquerade, removeMasquerade, repairMasquerade } from "./masquerade.ts";
import type { VethPair } from "./plan.ts";
import { requireNode } from "./status.ts";
import { collectSpoofRules, removeSpoofRules, repairSpoofRules } from "./spoof_check.ts";
import { validateBridge } from "../../schemas/generated/validators.js";

/**
 * Connects a container to a bridge on its node by a veth pair, with the addresses that an IPAM
 * plugin gives.
 */
export const bridge: Plugin<BridgeConfig> = {
  name: "bridge",
  validator: validateBridge,

  parse: parseBridgeConf,

  add,

  /** Removes everything that it can, whatever fails on the way, and then reports what failed. */
  async del(context) {
    const { conf, request } = context;
    const errors: CniError[] = [];
    const attempt = async (action: () => Promise<void> | void): Promise<void> => {
      try {
        await action();
      } catch (error) {
        errors.push(asCniError(error));
      }
    };
    // The link before its address: the next container may be given the address at once.
    await attempt(() => {
      const container = findContainerNetns(context);
      if (container === undefined) deleteOrphan(context);
      else deleteLink(container, container.link(request.ifname));
    });
    const { ipam } = conf;
    if (ipam !== undefined) await attempt(() => context.delegate.del(ipam, context.raw));
    if (conf.macSpoofCheck) {
      await attempt(() => {
        removeSpoofRules(context.firewall, {
          containerId: request.containerId,
          ifname: request.ifname,
        });
      });
    }
    if (ipam !== undefined && conf.ipMasq) {
      await attempt(() => {
        removeMasquerade(context, masqueradeOf(context));
      });
    }
    if (errors.length > 0) throw joinErrors(errors);
  },

  async check(context) {
    if (context.conf.ipam !== undefined) {
      await context.delegate.check(context.conf.ipam, context.raw);
    }
    checkContainer(context, openContainerNetns(context));
  },

  async repair(context, dryRun) {
    const { conf, prevResult, request } = context;
    if (prevResult === undefined) return [];
    const missing: string[] = [];
    const masquerade = masqueradeOf(context);
    if (conf.ipMasq && conf.ipam !== undefined) {
      const addresses = addressesOf(prevResult, request);
      const families = repairMasquerade(context, conf, masquerade, addresses, dryRun);
      missing.push(...families.map((family) => `masquerading for IPv${family}`));
    }
    const pair = conf.macSpoofCheck ? endsOf(context, prevResult) : undefined;
    if (pair !== undefined && repairSpoofRules(context.firewall, request, pair, dryRun)) {
      missing.push("macspoofchk");
    }
    if (missing.length === 0 || isAttached(context, prevResult)) return missing;
    // A DEL, which removes the link before the rules, may have looked for them already.
    if (!dryRun) {
      removeMasquerade(context, masquerade);
      if (conf.macSpoofCheck) removeSpoofRules(context.firewall, request);
    }
    return [];
  },

  async gc(context, valid) {
    if (context.conf.ipam !== undefined) {
      await context.delegate.gc(context.conf.ipam, context.raw, valid);
    }
    if (context.conf.ipMasq) collectMasquerade(context, context.conf.network, valid);
    if (context.conf.macSpoofCheck) collectSpoofRules(context);
  },

  async status(context) {
    if (context.conf.ipam !== undefined) {
      await context.delegate.status(context.conf.ipam, context.raw);
    }
    requireNode(context);
  },
};

/**
 * Deletes the host's end of a container whose namespace cannot be reached any more, but may still
 * be held open by a process. Its name comes from prevResult and its MAC must be the same.
 */
function deleteOrphan({ node, prevResult, conf }: Context<BridgeConfig>): void {
  const onHost = (prevResult?.interfaces ?? []).filter(({ sandbox = "" }) => sandbox === "");
  for (const { name, mac } of onHost) {
    // The node's own link into a VLAN is a veth as well, and is for all pods of the VLAN. The config
    // may have changed since it was made, so its name is recognised by the bridge's in the result.
    const isVlanLink = onHost.some((parent) => name.startsWith(`${parent.name}.`));
    if (isVlanLink || name === gatewayLink(conf) || ifnameProblem(name) !== undefined) continue;
    const link = node.host.link(name);
    if (link?.kind !== "veth" || link.mac !== mac) continue;
    deleteLink(node.host, link);
  }
}

function deleteLink(namespace: Namespace, link: Link | undefined): void {
  if (link === undefined) return;
  const { name, index } = link;
  namespace.apply([{ kind: "delete-link", name, index }]);
}

/** Whether the container's link is there; the host's end of it where its namespace cannot be reached. */
function isAttached({ node, request }: Context<BridgeConfig>, { interfaces }: Result): boolean {
  const inside = withContainer(node, request.netns, (container) => ({
    link: container.link(request.ifname),
  }));
  if (inside !== undefined) return inside.link !== undefined;
  return interfaces.some(
    ({ name, sandbox }) => (sandbox ?? "") === "" && node.host.link(name)?.kind === "veth",
  );
}

/** The addresses that the container's interface has by a result. */
function addressesOf({ interfaces, ips }: Result, { ifname }: Request): Cidr[] {
  return ips
    .filter(({ interface: at }) => {
      const link = at === undefined ? undefined : interfaces[at];
      return link === undefined || (link.name === ifname && (link.sandbox ?? "") !== "");
    })
    .map(({ address }) => address);
}

/** What the rules of macspoofchk name: the host's end of the veth, and the container's MAC. */
function endsOf(
  { conf, node, request }: Context<BridgeConfig>,
  { interfaces }: Result,
): Pick<VethPair, "hostVeth" | "containerMac"> | undefined {
  const inside = interfaces.find(
    ({ name, sandbox }) => name === request.ifname && (sandbox ?? "") !== "",
  );
  const outside = interfaces.find(
    ({ name, sandbox }) =>
      (sandbox ?? "") === "" && name !== conf.bridge && node.host.link(name)?.kind === "veth",
  );
  if (inside?.mac === undefined || outside === undefined) return undefined;
  return { hostVeth: outside.name, containerMac: inside.mac };
}
