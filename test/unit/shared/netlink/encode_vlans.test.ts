import { expect, test } from "vitest";

import { nested } from "../../../../shared/netlink/codec.ts";
import { portVlans, readPortVlans } from "../../../../shared/netlink/link_codec.ts";
import { encode } from "../../../../shared/netlink/encode.ts";
import type { NetlinkChange } from "../../../../shared/netlink/encode.ts";

const context = { indexOf: () => 4, indexes: new Map<string, number>(), hostFd: 3 };

/**
 * Compared with the payloads of iproute2 6.1, as strace shows them. A kernel without
 * CONFIG_BRIDGE_VLAN_FILTERING refuses these messages, so no test there can see their effect.
 */
const cases: readonly (readonly [string, NetlinkChange, string])[] = [
  [
    "bridge vlan add dev X vid 100 pvid untagged",
    { kind: "add-port-vlans", link: "x", first: 100, last: 100, untagged: true },
    "07000000 04000000 00000000 00000000 0c001a00 08000200 06006400",
  ],
  [
    "bridge vlan add dev X vid 10-20",
    { kind: "add-port-vlans", link: "x", first: 10, last: 20, untagged: false },
    "07000000 04000000 00000000 00000000 14001a00 08000200 08000a00 08000200 10001400",
  ],
  [
    "bridge vlan del dev X vid 1",
    { kind: "delete-port-vlan", link: "x", vid: 1 },
    "07000000 04000000 00000000 00000000 0c001a00 08000200 00000100",
  ],
];

test.each(cases)("%s", (_, step, payload) => {
  const { type, body } = encode(step, context);
  expect(Buffer.from(body).toString("hex")).toBe(payload.replaceAll(" ", ""));
  expect(type).toBe(step.kind === "delete-port-vlan" ? 0x11 : 0x13);
});

test("what is written is read, ranges and what stands between them", () => {
  const spec = Buffer.concat([
    // IFLA_BRIDGE_FLAGS, which the kernel sends too.
    nested(0, Buffer.of(1, 0), false),
    portVlans(1, 1, 4),
    portVlans(10, 20, 0),
    portVlans(100, 100, 6),
  ]);
  expect(readPortVlans(spec)).toEqual([
    { first: 1, last: 1, pvid: false, untagged: true },
    { first: 10, last: 20, pvid: false, untagged: false },
    { first: 100, last: 100, pvid: true, untagged: true },
  ]);
});
