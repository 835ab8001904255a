import { Failure } from "../../shared/base/failure.ts";
import { formatAddress, isLoopback, parseAddress, sameAddress } from "../../shared/net/address.ts";
import type { Address, Family } from "../../shared/net/address.ts";
import { NetError } from "../../shared/net/error.ts";
import type { InterfaceAddress, RouteSource } from "../../shared/netlink/interface_address.ts";
import { parseGoPattern } from "./go_pattern.ts";
import type { Families } from "./leases/annotations.ts";
import type { ExternalInterface } from "./backends/backend.ts";
import type { InterfaceOptions } from "./options.ts";

/** What the node has: the interfaces to choose from. */
export interface ObservedInterfaces {
  readonly links: readonly {
    readonly index: number;
    readonly name: string;
    readonly mtu: number;
  }[];
  readonly addresses: readonly InterfaceAddress[];
  /** Indexes of the links that default routes lead through, the best first. */
  readonly defaults: { readonly 4: readonly number[]; readonly 6: readonly number[] };
  /** The way to --iface-can-reach. */
  readonly canReach: RouteSource | undefined;
}

/** Changes with everything that the node's devices or its peers depend on. */
export function interfaceKey(external: ExternalInterface): string {
  const { name, index, mtu, address, addressV6, publicIp, publicIpv6 } = external;
  const addresses = [address, addressV6, publicIp, publicIpv6].map((known) => known?.value);
  return [name, index, mtu, ...addresses].join(" ");
}

/** A link, and those of its addresses that were asked for. */
interface Candidate {
  readonly link: number;
  readonly address?: Address | undefined;
  readonly addressV6?: Address | undefined;
}

/** Why something does not fit, as a clause. */
class Misfit extends Error {}

/**
 * Chooses the interface that leads to the other nodes, as flannel does. First come the names and
 * addresses that were asked for, then the patterns, then the route to an address. Without any of
 * these it is the interface with the public address, or else that of the default route.
 * @throws Failure missing if none fits, which may change.
 */
export function chooseInterface(
  observed: ObservedInterfaces,
  options: InterfaceOptions,
  families: Families,
): ExternalInterface {
  const problems: string[] = [];
  for (const find of finders(observed, options, families)) {
    try {
      return complete(observed, find(), options, families);
    } catch (error) {
      if (!(error instanceof Misfit)) throw error;
      if (!problems.includes(error.message)) problems.push(error.message);
    }
  }
  throw new Failure(
    "missing",
    `Cannot find the interface to the other nodes: ${problems.join("; ")}.`,
    "Bring it up, or name another with --iface, --iface-regex or --iface-can-reach.",
  );
}

function finders(
  observed: ObservedInterfaces,
  options: InterfaceOptions,
  families: Families,
): readonly (() => Candidate)[] {
  const { iface, ifaceRegex, canReach, publicIp, publicIpv6 } = options;
  const asked = [
    ...iface.map((name) => () => byNameOrAddress(observed, name, families)),
    ...ifaceRegex.map((pattern) => () => byPattern(observed, pattern, families)),
    ...(canReach === undefined ? [] : [() => byRoute(observed, canReach)]),
  ];
  if (asked.length > 0) return asked;
  const own = (families.enableIpv4 ? publicIp : undefined) ?? publicIpv6;
  return [
    ...(own === undefined ? [] : [() => byAddress(observed, own)]),
    // A public address may be that of a router in front of the node.
    () => byDefaultRoute(observed, families),
  ];
}

function byNameOrAddress(
  observed: ObservedInterfaces,
  text: string,
  families: Families,
): Candidate {
  const address = readAddress(text);
  if (address === undefined) {
    const link = observed.links.find(({ name }) => name === text);
    if (link !== undefined) return { link: link.index };
    throw new Misfit(`there is no interface ${text}`);
  }
  if (address.family === 4 ? families.enableIpv4 : families.enableIpv6) {
    return byAddress(observed, address);
  }
  throw new Misfit(`${text} is of a family that the network does not have`);
}

function byAddress({ addresses }: ObservedInterfaces, address: Address): Candidate {
  const found = addresses.find((entry) => sameAddress(entry.address.address, address));
  if (found === undefined)
    throw new Misfit(`no interface has the address ${formatAddress(address)}`);
  return { link: found.link, ...(address.family === 4 ? { address } : { addressV6: address }) };
}

/** Matches addresses first, of all families that the network has, then names. */
function byPattern(
  observed: ObservedInterfaces,
  text: string,
  { enableIpv4, enableIpv6 }: Families,
): Candidate {
  const pattern = parseGoPattern(text);
  for (const { index } of observed.links) {
    const matching = (family: Family) =>
      usable(observed, index, family).find((address) => pattern.test(formatAddress(address)));
    const address = enableIpv4 ? matching(4) : undefined;
    const addressV6 = enableIpv6 ? matching(6) : undefined;
    if (enableIpv4 === (address !== undefined) && enableIpv6 === (addressV6 !== undefined)) {
      return { link: index, address, addressV6 };
    }
  }
  const named = observed.links.find(({ name }) => pattern.test(name));
  if (named !== undefined) return { link: named.index };
  const names = observed.links.map(({ name }) => name).join(", ");
  throw new Misfit(`neither an address nor a name matches ${text} (there are ${names})`);
}

function byRoute({ canReach }: ObservedInterfaces, to: Address): Candidate {
  if (canReach === undefined) throw new Misfit(`there is no route to ${formatAddress(to)}`);
  const { link, source } = canReach;
  if (source === undefined) return { link };
  return { link, ...(source.family === 4 ? { address: source } : { addressV6: source }) };
}

function byDefaultRoute(
  { defaults, links }: ObservedInterfaces,
  { enableIpv4, enableIpv6 }: Families,
): Candidate {
  const [link4] = defaults[4];
  const [link6] = defaults[6];
  if (enableIpv4 && link4 === undefined) throw new Misfit("there is no default route");
  if (enableIpv6 && link6 === undefined) throw new Misfit("there is no IPv6 default route");
  const link = enableIpv4 ? link4 : link6;
  if (link === undefined) throw new Misfit("there is no default route");
  if (enableIpv4 && enableIpv6 && !defaults[6].includes(link)) {
    const nameOf = (index: number | undefined) =>
      links.find((candidate) => candidate.index === index)?.name;
    throw new Misfit(
      `the IPv4 default route leads through ${nameOf(link4) ?? "?"}, the IPv6 one through ${nameOf(link6) ?? "?"}`,
    );
  }
  return { link };
}

/** Adds an address of each family that the network has. */
function complete(
  observed: ObservedInterfaces,
  candidate: Candidate,
  { publicIp, publicIpv6 }: InterfaceOptions,
  { enableIpv4, enableIpv6 }: Families,
): ExternalInterface {
  const link = observed.links.find(({ index }) => index === candidate.link);
  if (link === undefined) throw new Misfit("the interface has gone");
  const choose = (
    family: Family,
    asked: Address | undefined,
    told: Address | undefined,
  ): Address => {
    const all = usable(observed, link.index, family);
    const own = told && all.find((address) => sameAddress(address, told));
    const found = asked ?? own ?? all[0];
    if (found !== undefined) return found;
    throw new Misfit(`${link.name} has no IPv${family} address`);
  };
  const address = enableIpv4 ? choose(4, candidate.address, publicIp) : undefined;
  const addressV6 = enableIpv6 ? choose(6, candidate.addressV6, publicIpv6) : undefined;
  return {
    name: link.name,
    index: link.index,
    mtu: link.mtu,
    address,
    addressV6,
    publicIp: enableIpv4 ? (publicIp ?? address) : undefined,
    publicIpv6: enableIpv6 ? (publicIpv6 ?? addressV6) : undefined,
  };
}

/** The addresses of a link that others can use, the best first. */
function usable({ addresses }: ObservedInterfaces, link: number, family: Family): Address[] {
  return addresses
    .filter(
      (entry) =>
        entry.link === link &&
        entry.address.address.family === family &&
        !entry.isDeprecated &&
        !entry.isTentative &&
        !isLoopback(entry.address.address),
    )
    .toSorted((a, b) => rank(a) - rank(b))
    .map(({ address: { address } }) => address);
}

/** Permanent addresses of global scope come first. */
function rank({ isGlobal, isPermanent, isTemporary }: InterfaceAddress): number {
  return (isGlobal ? 0 : 4) + (isPermanent ? 0 : 2) + (isTemporary ? 1 : 0);
}

function readAddress(text: string): Address | undefined {
  try {
    return parseAddress(text);
  } catch (error) {
    if (error instanceof NetError) return undefined;
    throw error;
  }
}
