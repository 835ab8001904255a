/** Random port forwards. */
import fc from "fast-check";

import { overlap } from "../../../../shared/firewall/port_forward.ts";
import type {
  PortForward,
  PortForwardOptions,
  PortMapping,
} from "../../../../shared/firewall/port_forward.ts";
import type { Family } from "../../../../shared/net/address.ts";
import { anyAddress as anyNumber, isMapped } from "../net/arbitraries.ts";

const name = (maxLength: number): fc.Arbitrary<string> =>
  fc.stringMatching(new RegExp(`^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,${maxLength - 1}}$`));

/** As a config or a result can have it: of an IPv4-mapped one the IPv4 address is read. */
const anyAddress = anyNumber.filter((address) => !isMapped(address));

const port = fc.integer({ min: 1, max: 65_535 });

export const anyMapping: fc.Arbitrary<PortMapping> = fc
  .record({
    // Few of them, so that some are the same.
    hostPort: fc.oneof(fc.integer({ min: 8080, max: 8083 }), port),
    containerPort: port,
    protocol: fc.constantFrom("tcp", "udp", "sctp"),
    hostIP: fc.option(anyAddress, { nil: undefined }),
    only: fc.option(fc.constantFrom<Family>(4, 6), { nil: undefined }),
  })
  .map(({ only, ...mapping }) => ({ ...mapping, family: mapping.hostIP?.family ?? only }));

/** What the config lets through: anything without control characters. */
const condition = fc
  .string({ unit: "grapheme-ascii", minLength: 1, maxLength: 12 })
  .filter((text) => /^[\u0020-\u007e]+$/.test(text));
const conditions = fc.array(condition, { maxLength: 3 });

const anyOptions: fc.Arbitrary<PortForwardOptions> = fc
  .record({
    snat: fc.boolean(),
    masqAll: fc.boolean(),
    markMasqBit: fc.integer({ min: 0, max: 31 }),
    externalSetMarkChain: fc.option(fc.constant("KUBE-MARK-MASQ"), { nil: undefined }),
    four: conditions,
    six: conditions,
  })
  .map(({ four, six, ...rest }) => ({ ...rest, conditions: { 4: four, 6: six } }));

const addressOf = (family: Family) =>
  fc
    .tuple(
      anyAddress.filter((address) => address.family === family),
      fc.integer({ min: 1, max: family === 4 ? 32 : 128 }),
    )
    .map(([address, prefix]) => ({ address, prefix }));

/** A container with up to 40 mappings that don't overlap, and an address of each family. */
export const anyForward: fc.Arbitrary<PortForward> = fc.record({
  network: name(200),
  containerId: name(200),
  ifname: fc.constant("eth0"),
  addresses: fc.tuple(addressOf(4), addressOf(6)),
  mappings: fc
    .array(anyMapping, { minLength: 1, maxLength: 40 })
    .map((all) =>
      all.filter((mapping, at) => !all.slice(0, at).some((earlier) => overlap(mapping, earlier))),
    ),
  options: anyOptions,
});
