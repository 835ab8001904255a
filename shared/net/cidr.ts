import { formatAddress, parseAddress, sameAddress, widthOf } from "./address.ts";
import type { Address, Family } from "./address.ts";
import { NetError, notA } from "./error.ts";

/** A subnet, or an address in one: then its host bits are set (10.244.1.2/24). */
export interface Cidr {
  readonly address: Address;
  /** How many leading bits are the network's: 0 to 32 or 128. */
  readonly prefix: number;
}

/**
 * Reads an address and a prefix length with a `/` between them. Host bits may be set; for the rest
 * it is as strict as {@link parseAddress}.
 *
 * An IPv4-mapped one (::ffff:10.0.0.0/104) is the IPv4 one (10.0.0.0/8); with less than 96 bits it
 * is of neither family.
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
  throw notA("an address with a prefix length, such as 10.244.1.0/24", text);
}

/** Writes an address with its prefix length: "10.244.1.2/24". */
export function formatCidr({ address, prefix }: Cidr): string {
  return `${formatAddress(address)}/${prefix}`;
}

/** The subnet that an address is in: the same with its host bits cleared. */
export function subnetOf(cidr: Cidr): Cidr {
  return { address: firstAddress(cidr), prefix: cidr.prefix };
}

/** Whether an address is in the subnet. One of the other family is not. */
export function contains(subnet: Cidr, address: Address): boolean {
  const bits = hostBits(subnet);
  return (
    subnet.address.family === address.family &&
    subnet.address.value >> bits === address.value >> bits
  );
}

/** The first address of the subnet, which is the network's own. */
export function firstAddress(cidr: Cidr): Address {
  const bits = hostBits(cidr);
  return { family: cidr.address.family, value: (cidr.address.value >> bits) << bits };
}

/** The last address of the subnet, which in IPv4 is its broadcast address. */
export function lastAddress(cidr: Cidr): Address {
  const { family, value } = cidr.address;
  return { family, value: value | ((1n << hostBits(cidr)) - 1n) };
}

/** Whether address, host bits and prefix length are all the same. */
export function sameCidr(a: Cidr, b: Cidr): boolean {
  return a.prefix === b.prefix && sameAddress(a.address, b.address);
}

/** Whether two subnets have an address in common. */
export function overlaps(a: Cidr, b: Cidr): boolean {
  return a.prefix <= b.prefix ? contains(a, b.address) : contains(b, a.address);
}

/** The subnet that every address of a family is in, which a default route leads to. */
export function defaultRoute(family: Family): Cidr {
  return { address: { family, value: 0n }, prefix: 0 };
}

function hostBits({ address, prefix }: Cidr): bigint {
  return BigInt(widthOf(address.family) - prefix);
}

/** @returns -1 if the text is no number of at most three digits without a leading zero. */
function parsePrefix(text: string): number {
  return /^(?:0|[1-9]\d{0,2})$/.test(text) ? Number(text) : -1;
}
