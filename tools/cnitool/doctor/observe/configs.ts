import { CniError } from "../../../../shared/cni/error.ts";
import type { NetworkList } from "../../../../shared/libcni/list.ts";
import { listNetworks } from "../../../../shared/libcni/load.ts";
import type { Tool } from "../../command.ts";
import { delegateChain } from "../../node/delegate_chain.ts";
import type { DelegateChain } from "../../node/delegate_chain.ts";
import { subnetsOf } from "../../node/reservations.ts";
import { netFolder } from "../../settings.ts";
import type { ConfigsView } from "../view.ts";

/** Reads the network configs, and asks the plugins about them. @throws CniError */
export async function observeConfigs(tool: Tool): Promise<ConfigsView> {
  const folder = netFolder(tool);
  const files = listNetworks(folder);
  const networks = files
    .map((file) => file.network)
    .filter((list): list is NetworkList => !(list instanceof CniError));
  const [network, ...unusedNetworks] = networks;
  const unused = [];
  for (const unusedNetwork of unusedNetworks) {
    const chains = await chainsOf(tool, unusedNetwork);
    unused.push({
      network: unusedNetwork,
      subnets: chains.flatMap((delegate) => subnetsOf(delegate.chain)),
    });
  }
  const chains = network === undefined ? [] : await chainsOf(tool, network);
  return { folder, files, network, chains, unused };
}

async function chainsOf(tool: Tool, list: NetworkList): Promise<DelegateChain[]> {
  const chains: DelegateChain[] = [];
  for (const plugin of list.plugins) chains.push(await delegateChain(tool, list, plugin));
  return chains;
}
