import { Failure } from "../../../shared/base/failure.ts";
import { CniError } from "../../../shared/cni/error.ts";
import { parseConf } from "../../../shared/ipam/conf.ts";
import type { HostLocalConfig } from "../../../shared/ipam/conf.ts";
import type { Reservation } from "../../../shared/ipam/reservation.ts";
import { Store } from "../../../shared/ipam/store.ts";
import { compareAddresses } from "../../../shared/net/address.ts";
import type { Tool } from "../command.ts";
import type { Delegated } from "./delegate_chain.ts";

/** What host-local has reserved for a network. */
export interface Reserved {
  readonly conf: HostLocalConfig;
  readonly reservations: readonly Reservation[];
}

const request = {
  verb: "STATUS",
  containerId: "",
  netns: "",
  ifname: "",
  args: new Map<string, string>(),
  path: [],
  netnsOverride: false,
} as const;

/**
 * The reservations that the host-local of a chain of plugins has made, or undefined where there is
 * none, or its config is broken.
 */
export function reservedBy(tool: Tool, chain: readonly Delegated[]): Reserved | undefined {
  const own = chain.find(({ type }) => type === "host-local");
  if (own === undefined) return undefined;
  try {
    const conf = parseConf({ ...own.conf, cniVersion: "1.1.0" }, request);
    const reservations = new Store(conf.folder, tool.node)
      .read()
      .toSorted((one, other) => compareAddresses(one.address, other.address));
    return { conf, reservations };
  } catch (error) {
    if (error instanceof CniError || error instanceof Failure) return undefined;
    throw error;
  }
}
