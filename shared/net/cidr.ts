import { formatAddress, parseAddress, sameAddress, widthOf } from "./address.ts";
import type { Address, Family } from "./address.ts";
import { NetError } from "./error.ts";

/** A subnet (10.244.1.0/24), or an address with its subnet's prefix length (10.244.1.2/24). */
export interface Cidr {
  readonly address: Address;
  /** The prefix length: 0 to 32 or 128. */
  readonly prefix: number;
}

/**
 * Reads an address and a prefix length with a `/` between them, as strictly as {@link parseAddress}.
 * Host bits may be set.
 *
 * An IPv4-mapped subnet (::ffff:10.0.0.0/104) gives the IPv4 subnet (10.0.0.0/8). With a prefix
 * shorter than 96 it belongs to neither family and is refused.
 * @throws NetError
 */
export function parseCidr(text: string): Cidr {
  const slash = text.indexOf("/");
  try {
    const address = parseAddress(text.slice(0, slash < 0 ? 0 : slash));
    const mapped = address.family === 4 && text.includes(":");
    const prefix = parsePrefix(text.slice(slash + 1)) - (mapped ? 96 : 0);
    if (prefix >= 0 && prefix <= widthOf(address.family)) return { address, prefix };
  } catch (error) {
    if (!(error instanceof NetError)) throw error;
  }
  throw new NetError("must be an address with a prefix length, such as 10.244.1.0/24");
}

/** Writes an address with its prefix length: "10.244.1.2/24". */
export function formatCidr({ address, prefix }: Cidr): string {
  return `${formatAddress(address)}/${prefix}`;
}

/** The subnet of an address: its host bits cleared. */
export function subnetOf(cidr: Cidr): Cidr {
  return { address: firstAddress(cidr), prefix: cidr.prefix };
}

/** Whether an address is in a subnet. An address of the other family never is. */
export function contains(subnet: Cidr, address: Address): boolean {
  const bits = hostBits(subnet);
  return (
    subnet.address.family === address.family &&
    subnet.address.value >> bits === address.value >> bits
  );
}

/** The first address of the subnet: the network address. */
export function firstAddress(cidr: Cidr): Address {
  const bits = hostBits(cidr);
  return { family: cidr.address.family, value: (cidr.address.value >> bits) << bits };
}

/** The last address of the subnet: in IPv4 the broadcast address. */
export function lastAddress(cidr: Cidr): Address {
  const { family, value } = cidr.address;
  return { family, value: value | ((1n << hostBits(cidr)) - 1n) };
}

/** Whether the whole addresses, host bits included, and the prefix lengths are the same. */
export function sameCidr(a: Cidr, b: Cidr): boolean {
  return a.prefix === b.prefix && sameAddress(a.address, b.address);
}

/** Whether two subnets have an address in common. */
export function overlaps(a: Cidr, b: Cidr): boolean {
  return a.prefix <= b.prefix ? contains(a, b.address) : contains(b, a.address);
}

/** The destination of a family's default route: 0.0.0.0/0 or ::/0. */
export function defaultRoute(family: Family): Cidr {
  return { address: { family, value: 0n }, prefix: 0 };
}

function hostBits({ address, prefix }: Cidr): bigint {
  return BigInt(widthOf(address.family) - prefix);
}

/** @returns -1 unless the text is a number of at most three digits without a leading zero. */
function parsePrefix(text: string): number {
  return /^(?:0|[1-9]\d{0,2})$/.test(text) ? Number(text) : -1;
}
