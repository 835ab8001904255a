import type { JsonObject } from "../../../../shared/base/json.ts";
import { defaultBridge } from "../../../../shared/flannel/defaults.ts";
import type { Link } from "../../../../shared/node/node.ts";
import type { Tool } from "../../command.ts";
import type { Attachments } from "../../node/attachments.ts";
import { withContainer } from "../../../../shared/node/namespaces.ts";
import type { BridgeView, StrayPort } from "../view.ts";

/** Looks at the bridge plugin's bridge. @throws Failure kernel */
export function observeBridge(
  tool: Tool,
  conf: JsonObject,
  links: readonly Link[],
  attachments: Attachments,
): BridgeView {
  const name = typeof conf["bridge"] === "string" ? conf["bridge"] : defaultBridge;
  const link = links.find((candidate) => candidate.name === name);
  return {
    name,
    conf,
    addresses: link === undefined ? [] : tool.node.host.addresses(link),
    strayPorts: link?.kind === "bridge" ? strayPorts(tool, link, links, attachments) : [],
  };
}

/** The veths of a bridge that no attachment has, and where they lead. */
function strayPorts(
  tool: Tool,
  bridge: Link,
  links: readonly Link[],
  { cached, strangers }: Attachments,
): StrayPort[] {
  const ports = links.filter(({ master, kind }) => master === bridge.index && kind === "veth");
  const named = new Set(
    cached.flatMap(({ addResult }) => (addResult?.interfaces ?? []).map(({ name }) => name)),
  );
  const unnamed = ports.filter(({ name }) => !named.has(name));
  if (unnamed.length === 0) return [];
  // Results of CNI 0.2.0 and before name no links.
  const inside = new Set(
    cached.map(
      ({ netns, ifname }) =>
        withContainer(tool.node, netns, (container) => container.link(ifname))?.peer,
    ),
  );
  const byIndex = new Map(links.map((link) => [link.index, link]));
  return unnamed
    .filter(({ index }) => !inside.has(index))
    .map(({ name, index, peer, peerNetns }): StrayPort => {
      const isHere = peerNetns === undefined && byIndex.get(peer)?.peer === index;
      if (isHere) return { name, peer: "node" };
      const found = strangers().find(({ links: own }) =>
        own.some((link) => link.index === peer && link.peer === index),
      );
      return { name, peer: found };
    });
}
