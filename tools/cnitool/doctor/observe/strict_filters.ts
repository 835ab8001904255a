import { withContainer } from "../../../../shared/node/namespaces.ts";
import type { Tool } from "../../command.ts";
import type { Attachments } from "../../node/attachments.ts";
import { podOf } from "../../node/plugin_call.ts";
import type { StrictFilter } from "../view.ts";

const mainTable = 254;

/** Pods with several networks that drop what comes in by some of their interfaces. */
export function observeStrictFilters(
  tool: Tool,
  { cached, unrecorded }: Pick<Attachments, "cached" | "unrecorded">,
): StrictFilter[] {
  const all = [
    ...cached
      .filter(({ state, ifname }) => state === "alive" && ifname !== "lo")
      .map((pod) => ({ ...pod, name: podOf(pod) ?? pod.containerId })),
    // The runtime keeps no result of these, but their addresses are reserved, and there.
    ...unrecorded.flatMap(({ containerId, ifname, namespace }) =>
      namespace === undefined
        ? []
        : [{ containerId, ifname, netns: namespace.path, name: containerId }],
    ),
  ];
  const perContainer = Map.groupBy(all, ({ containerId }) => containerId);
  return [...perContainer.values()].flatMap((attachments): StrictFilter[] => {
    const [first] = attachments;
    const ifnames = [...new Set(attachments.map(({ ifname }) => ifname))];
    if (first === undefined || ifnames.length < 2) return [];
    const { name, netns } = first;
    const interfaces = strictInterfaces(tool, netns, ifnames);
    return interfaces.length === 0 ? [] : [{ name, netns, interfaces }];
  });
}

/**
 * The interfaces of a container that drop packets from outside: reverse path filtering is strict, and
 * the default route leads through another interface.
 */
function strictInterfaces({ node }: Tool, netns: string, ifnames: readonly string[]): string[] {
  const found = withContainer(node, netns, (container) => {
    const filter = (link: string): number =>
      Number(container.sysctl(`net/ipv4/conf/${link}/rp_filter`) ?? 0);
    const all = filter("all");
    // The larger of the two applies; 2 is loose.
    const strict = ifnames.filter((ifname) => Math.max(all, filter(ifname)) === 1);
    if (strict.length === 0) return [];
    const byDefault = container
      .routes()
      .find(
        ({ dst, table }) => dst.address.family === 4 && dst.prefix === 0 && table === mainTable,
      );
    const links = new Map(container.links().map(({ name, index }) => [name, index]));
    return strict.filter((ifname) => {
      const index = links.get(ifname);
      return index !== undefined && byDefault?.links.includes(index) !== true;
    });
  });
  return found ?? [];
}
