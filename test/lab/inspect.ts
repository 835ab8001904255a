/** The parts of `ip -json`'s output that the tests and the demo use. */

/** A link, from `ip -d -j address`. */
export interface Link {
  readonly ifindex: number;
  readonly ifname: string;
  readonly flags: readonly string[];
  readonly mtu: number;
  readonly operstate: string;
  /** The MAC address. */
  readonly address?: string;
  readonly master?: string;
  /** The peer's or parent's ifindex, and its namespace if that is another one. */
  readonly link_index?: number;
  readonly link_netnsid?: number;
  readonly promiscuity?: number;
  readonly linkinfo?: {
    readonly info_kind?: string;
    readonly info_data?: { readonly vlan_filtering?: number };
    readonly info_slave_kind?: string;
    readonly info_slave_data?: { readonly hairpin?: boolean; readonly isolated?: boolean };
  };
  readonly addr_info: readonly AddressInfo[];
}

interface AddressInfo {
  readonly family: "inet" | "inet6";
  readonly local: string;
  readonly prefixlen: number;
  readonly scope: "global" | "link" | "host";
  readonly tentative?: boolean;
  readonly dadfailed?: boolean;
  readonly nodad?: boolean;
}

/** An address and the link that has it. */
export interface Address extends AddressInfo {
  readonly ifname: string;
}

/** A route, from `ip -j route`. */
export interface Route {
  readonly dst: string;
  readonly type?: string;
  readonly gateway?: string;
  readonly dev?: string;
  readonly table?: string;
  readonly protocol?: string;
  readonly scope?: string;
  readonly prefsrc?: string;
  readonly metric?: number;
  readonly metrics?: readonly { readonly mtu?: number; readonly advmss?: number }[];
}

/** A neighbour entry, from `ip -j neighbour`. */
export interface Neighbour {
  readonly dst: string;
  readonly dev: string;
  readonly lladdr?: string;
  readonly state: readonly string[];
}

/** A routing rule, from `ip -j rule`. */
export interface Rule {
  readonly priority: number;
  readonly src: string;
  readonly dst?: string;
  readonly table?: string;
}

/** Reads the output of `ip -j`, which prints nothing at all for some empty lists. */
export function parseList(json: string): readonly unknown[] {
  // Ubuntu 24.04's ip writes two words of a vxlan device's text into its JSON.
  const text = json.replaceAll("fan-map ", "").trim();
  const value: unknown = text === "" ? [] : JSON.parse(text);
  if (!Array.isArray(value)) throw new Error(`Cannot read a list from ${json.slice(0, 80)}`);
  // An interface that disappears while it is printed leaves an empty object.
  return value.filter((item: unknown) => Object.keys(item ?? {}).length > 0);
}

/** All addresses of some links. */
export function addressesOf(links: readonly Link[]): readonly Address[] {
  return links.flatMap(({ ifname, addr_info }) => addr_info.map((info) => ({ ...info, ifname })));
}
