import { formatCidr } from "../../shared/net/cidr.ts";
import { isJsonArray, isJsonObject } from "../../shared/base/json.ts";
import type { Json, JsonObject } from "../../shared/base/json.ts";
import { badDelegateType, bridge, isDelegateType } from "./conf.ts";
import type { FlannelConfig } from "./conf.ts";
import type { SubnetEnv } from "../../shared/flannel/subnet_env.ts";

/** What a delegate's config says about the node. */
export type NodeFacts = Omit<SubnetEnv, "mtu"> & Partial<Pick<SubnetEnv, "mtu">>;

/** A config with its plugin's name. */
export type DelegateConf = JsonObject & { readonly type: string };

/**
 * Makes the delegate's config as the reference plugin does, with its keys sorted.
 *
 * - `name`, `ipam`, `cniVersion` and `runtimeConfig` are flannel's.
 * - `type` (bridge), `ipMasq` (unless flanneld masquerades), `mtu` and, for bridge, `isGateway` are set
 *   where `delegate` does not set them.
 * - Everything else is what `delegate` says.
 *
 * @throws CniError InvalidNetworkConfig for a `delegate.type` that cannot be one.
 */
export function delegateConf(conf: FlannelConfig, node: NodeFacts): DelegateConf {
  const type = conf.delegate["type"] ?? bridge;
  if (!isDelegateType(type)) throw badDelegateType(type);
  const filled = {
    ipMasq: !node.ipMasq,
    ...(node.mtu === undefined ? {} : { mtu: node.mtu }),
    ...(type === bridge ? { isGateway: true } : {}),
    ...conf.delegate,
    ...(conf.cniVersion === "" ? {} : { cniVersion: conf.cniVersion }),
    ...(conf.runtimeConfig === undefined ? {} : { runtimeConfig: conf.runtimeConfig }),
    name: conf.network,
    ipam: ipamConf(conf.ipam, node),
  };
  return { ...inOrder({ ...filled, type }), type };
}

/**
 * The IPAM plugin's part: a range for each of the node's subnets, and routes to all of flannel's
 * networks after those that are given.
 */
function ipamConf(given: JsonObject, { subnets, networks }: NodeFacts): JsonObject {
  const routes = given["routes"];
  return {
    ...given,
    type: given["type"] ?? "host-local",
    // For a DEL that no longer knows the subnets.
    ...(subnets.length === 0
      ? {}
      : { ranges: subnets.map((subnet) => [{ subnet: formatCidr(subnet) }]) }),
    routes: [
      ...(isJsonArray(routes) ? routes : []),
      ...networks.map((network) => ({ dst: formatCidr(network) })),
    ],
  };
}

/** Sorts the keys of an object, and of the objects in it. */
function inOrder(object: JsonObject): JsonObject {
  const keys = Object.keys(object).toSorted();
  return Object.fromEntries(keys.map((key) => [key, sorted(object[key] ?? null)]));
}

function sorted(value: Json): Json {
  if (isJsonObject(value)) return inOrder(value);
  return isJsonArray(value) ? value.map(sorted) : value;
}
