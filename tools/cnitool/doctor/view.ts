import { statSync } from "node:fs";
import { CniError } from "../../../shared/cni/error.ts";
import type { NetworkList } from "../../../shared/libcni/list.ts";
import { listNetworks } from "../../../shared/libcni/load.ts";
import type { NetworkFile } from "../../../shared/libcni/load.ts";
import type { Link } from "../../../shared/node/node.ts";
import type { JsonObject } from "../../../shared/base/json.ts";
import type { Tool } from "../command.ts";
import { observeAttachments } from "../node/attachments.ts";
import type { CachedAttachment } from "../node/attachments.ts";
import { delegateChain } from "../node/delegate_chain.ts";
import type { DelegateChain } from "../node/delegate_chain.ts";
import { reservationsOf } from "../node/reservations.ts";
import type { Reservations } from "../node/reservations.ts";
import { netFolder } from "../settings.ts";

/** Milliseconds that an ADD may take; until then a pod is not yet as it will be. */
const longAdd = 120_000;

/** A node as the checks see it: looked at once. */
export interface View {
  readonly tool: Tool;
  readonly folder: string;
  /** All network configs, in order. */
  readonly files: readonly NetworkFile[];
  /** The network that a runtime uses: the first that can be read. */
  readonly winner: NetworkList | undefined;
  /** What its plugins delegate, and say of their readiness. */
  readonly delegations: readonly DelegateChain[];
  readonly reserved: Reservations | undefined;
  /** All attachments, of all networks. */
  readonly attached: readonly CachedAttachment[];
  readonly links: readonly Link[];
  /** The bridge plugin's config, if there is one in the network. */
  readonly bridge: { readonly name: string; readonly conf: JsonObject } | undefined;
  /** Containers that an ADD may be making just now. */
  readonly young: ReadonlySet<string>;
  /** Whether kept results tell of all pods there are, as far as that can be seen. */
  readonly isComplete: boolean;
}

/** Looks at the node. @throws CniError what keeps it from being looked at at all. */
export async function viewOf(tool: Tool): Promise<View> {
  const folder = netFolder(tool);
  const files = listNetworks(folder);
  const winner = files
    .map(({ network }) => network)
    .find((one): one is NetworkList => !(one instanceof CniError));
  const delegations: DelegateChain[] = [];
  for (const plugin of winner?.plugins ?? []) {
    if (winner !== undefined) delegations.push(await delegateChain(tool, winner, plugin));
  }
  const chain = delegations.flatMap((delegation) => delegation.chain);
  const bridge = chain.find(({ type }) => type === "bridge");
  const reserved = reservationsOf(tool, chain);
  const links = tool.node.host.links();
  const attached = observeAttachments(tool, links).cached;
  const name = typeof bridge?.conf["bridge"] === "string" ? bridge.conf["bridge"] : "cni0";
  const own = links.find((link) => link.name === name);
  const hasPorts = own !== undefined && links.some(({ master }) => master === own.index);
  return {
    tool,
    folder,
    files,
    winner,
    delegations,
    reserved,
    attached,
    links,
    bridge: bridge && { name, conf: bridge.conf },
    young: youngIn(reserved),
    isComplete: !hasPorts || attached.some(({ network }) => network === winner?.name),
  };
}

/** Whether the bridge is to be the pods' gateway: otherwise the node does not route for them. */
export function isGateway({ bridge }: View): boolean {
  const { isGateway: own, isDefaultGateway } = bridge?.conf ?? {};
  return own === true || isDefaultGateway === true;
}

/** The bridge's link, if it is one. */
export function bridgeLink({ bridge, links }: View): Link | undefined {
  return links.find(({ name, kind }) => name === bridge?.name && kind === "bridge");
}

/** The attachments of the network whose namespaces are there. */
export function pods({ attached, winner }: View): CachedAttachment[] {
  return attached.filter(({ state, network }) => state === "alive" && network === winner?.name);
}

function youngIn(reserved: Reservations | undefined): Set<string> {
  const young = new Set<string>();
  for (const { file, owner } of reserved?.reservations ?? []) {
    const path = `${reserved?.conf.folder ?? ""}/${file}`;
    const made = statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0;
    if (owner !== undefined && Date.now() - made < longAdd) young.add(owner.containerId);
  }
  return young;
}
