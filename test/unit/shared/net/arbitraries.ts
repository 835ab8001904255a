/** Random values for the tests of shared/net. */
import fc from "fast-check";

import type { Address } from "../../../../shared/net/address.ts";
import type { Cidr } from "../../../../shared/net/cidr.ts";

const ipv4 = fc.bigInt({ min: 0n, max: 2n ** 32n - 1n });

/** Groups of zeros are as likely as others, because IPv6 has a special notation for them. */
const ipv6 = fc
  .array(fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 0xffff })), {
    minLength: 8,
    maxLength: 8,
  })
  .map((groups) => groups.reduce((value, group) => (value << 16n) | BigInt(group), 0n));

export const anyAddress: fc.Arbitrary<Address> = fc.oneof(
  ipv4.map((value): Address => ({ family: 4, value })),
  ipv6.map((value): Address => ({ family: 6, value })),
);

export const anyCidr: fc.Arbitrary<Cidr> = anyAddress.chain((address) =>
  fc
    .integer({ min: 0, max: address.family === 4 ? 32 : 128 })
    .map((prefix) => ({ address, prefix })),
);

/** Whether an IPv6 address is IPv4-mapped, so that parsing gives an IPv4 address. */
export function isMapped({ family, value }: Address): boolean {
  return family === 6 && value >> 32n === 0xffffn;
}
