import { formatCidr } from "../../shared/net/cidr.ts";
import { isJsonArray, isJsonObject } from "../../shared/base/json.ts";
import type { Json, JsonObject } from "../../shared/base/json.ts";
import { badDelegateType, isDelegateType } from "./conf.ts";
import type { FlannelConfig } from "./conf.ts";
import type { SubnetEnv } from "../../shared/flannel/subnet_env.ts";

/** What a delegate's config needs to know about the node. */
export type NodeFacts = Omit<SubnetEnv, "mtu"> & Partial<Pick<SubnetEnv, "mtu">>;

/** A config with the name of the plugin that it is for. */
export type DelegateConf = JsonObject & { readonly type: string };

/**
 * Makes the delegate's config, with its keys in order, as the reference plugin does.
 *
 * - `name`, `ipam`, `cniVersion` and `runtimeConfig` are flannel's own.
 * - `type` (bridge), `ipMasq` (whether flanneld leaves that to us), `mtu` and, for bridge alone,
 *   `isGateway` are filled in where `delegate` doesn't say.
 * - Everything else is as `delegate` has it.
 *
 * @throws CniError InvalidNetworkConfig for a `delegate.type` that is none.
 */
export function delegateConf(conf: FlannelConfig, node: NodeFacts): DelegateConf {
  const type = conf.delegate["type"] ?? "bridge";
  if (!isDelegateType(type)) throw badDelegateType(type);
  const filled = {
    ipMasq: !node.ipMasq,
    ...(node.mtu === undefined ? {} : { mtu: node.mtu }),
    ...(type === "bridge" ? { isGateway: true } : {}),
    ...conf.delegate,
    ...(conf.cniVersion === "" ? {} : { cniVersion: conf.cniVersion }),
    ...(conf.runtimeConfig === undefined ? {} : { runtimeConfig: conf.runtimeConfig }),
    name: conf.network,
    ipam: ipamConf(conf.ipam, node),
  };
  return { ...inOrder({ ...filled, type }), type };
}

/**
 * The IPAM plugin's part: one range of addresses for each of the node's subnets, and routes to all
 * of flannel's networks after those that are given.
 */
function ipamConf(given: JsonObject, { subnets, networks }: NodeFacts): JsonObject {
  const routes = given["routes"];
  return {
    ...given,
    type: given["type"] ?? "host-local",
    // A DEL that no longer knows the subnets says nothing about them.
    ...(subnets.length === 0
      ? {}
      : { ranges: subnets.map((subnet) => [{ subnet: formatCidr(subnet) }]) }),
    routes: [
      ...(isJsonArray(routes) ? routes : []),
      ...networks.map((network) => ({ dst: formatCidr(network) })),
    ],
  };
}

/** Sorts the keys of an object and of those in it. */
function inOrder(object: JsonObject): JsonObject {
  const keys = Object.keys(object).toSorted();
  return Object.fromEntries(keys.map((key) => [key, sorted(object[key] ?? null)]));
}

function sorted(value: Json): Json {
  if (isJsonObject(value)) return inOrder(value);
  return isJsonArray(value) ? value.map(sorted) : value;
}
