import { isFailure } from "../../shared/base/failure.ts";
import { CniError, Code } from "../../shared/cni/error.ts";
import type { Context, Plugin } from "../../shared/cni/plugin.ts";
import type { Result } from "../../shared/cni/result.ts";
import { sameCidr, subnetOf } from "../../shared/net/cidr.ts";
import type { Cidr } from "../../shared/net/cidr.ts";
import { parseFlannelConf } from "./conf.ts";
import type { FlannelConfig } from "./conf.ts";
import { delegateConf } from "./delegate_conf.ts";
import type { DelegateConf } from "./delegate_conf.ts";
import { collectStates, findState, removeState, saveState, sweepStates } from "./state.ts";
import { readSubnetEnv } from "../../shared/flannel/subnet_env.ts";
import { validateFlannel } from "../../schemas/generated/validators.js";

/**
 * Connects a container to flannel's network by another plugin, usually bridge. It makes that plugin's
 * config from its own and from what flanneld wrote about the node.
 */
export const flannel: Plugin<FlannelConfig> = {
  name: "flannel",
  validator: validateFlannel,
  parse: parseFlannelConf,

  async add({ conf, request, node, delegate, undo }) {
    const config = delegateConf(conf, readSubnetEnv(conf.subnetFile));
    const saved = saveState(node, conf.dataDir, request, config);
    undo.push(`the state file ${saved.path}`, saved.undo);
    const result = await delegate.add(config.type, config);
    undo.push(`what ${config.type} made`, () => delegate.del(config.type, config));
    return result;
  },

  async del(context) {
    const { conf, request, node, delegate } = context;
    const state = findState(node, conf.dataDir, request, conf.network);
    // Without a state file the pod's address must be released as well.
    const config = state?.config ?? bestConf(context);
    await delegate.del(config.type, withPrevResult(config, context));
    if (state !== undefined) removeState(state.path);
    sweepStates(node, conf.dataDir, request);
  },

  async check(context) {
    const { conf, request, node, delegate } = context;
    const state = findState(node, conf.dataDir, request, conf.network);
    // What the pod was made with, whatever flanneld says now.
    const config = state?.config ?? delegateConf(conf, readSubnetEnv(conf.subnetFile));
    await delegate.check(config.type, withPrevResult(config, context));
  },

  async repair(context, dryRun) {
    const { conf, request, node, delegate } = context;
    const state = findState(node, conf.dataDir, request, conf.network);
    const config = state?.config ?? delegateConf(conf, readSubnetEnv(conf.subnetFile));
    return delegate.repair(config.type, withPrevResult(config, context), dryRun);
  },

  async gc(context, valid) {
    const { conf, delegate } = context;
    const config = bestConf(context);
    await delegate.gc(config.type, config, valid);
    collectStates(conf.dataDir, conf.network, valid);
  },

  async status({ conf, delegate }) {
    const config = statusConf(conf);
    await delegate.status(config.type, config);
  },
};

/** @throws CniError PluginNotAvailable until flanneld has written the node's subnet. */
function statusConf(conf: FlannelConfig): DelegateConf {
  try {
    return delegateConf(conf, readSubnetEnv(conf.subnetFile));
  } catch (cause) {
    if (!isFailure(cause, "missing")) throw cause;
    throw new CniError(Code.PluginNotAvailable, cause.message, cause.advice, { cause });
  }
}

/** The best guess at a config by which a container can be deleted. */
function bestConf({ conf, prevResult }: Context<FlannelConfig>): DelegateConf {
  try {
    return delegateConf(conf, readSubnetEnv(conf.subnetFile));
  } catch (error) {
    if (!isFailure(error, "missing")) throw error;
    // Removing masquerading rules that do not exist does no harm; leaving some would.
    return delegateConf(conf, { networks: [], subnets: subnetsIn(prevResult), ipMasq: false });
  }
}

/** The subnets of a result's addresses, each once. */
function subnetsIn(result: Result | undefined): Cidr[] {
  const subnets: Cidr[] = [];
  for (const { address } of result?.ips ?? []) {
    const subnet = subnetOf(address);
    if (!subnets.some((known) => sameCidr(known, subnet))) subnets.push(subnet);
  }
  return subnets;
}

/** Adds the runtime's prevResult, and the version in which it is written. */
function withPrevResult(config: DelegateConf, context: Context<FlannelConfig>): DelegateConf {
  if (context.prevResult === undefined) return config;
  const { prevResult, cniVersion } = context.raw;
  return {
    ...config,
    ...(cniVersion === undefined ? {} : { cniVersion }),
    ...(prevResult === undefined ? {} : { prevResult }),
  };
}
