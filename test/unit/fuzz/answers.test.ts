/** Whatever the kernel and the firewall's tools answer is understood, or is an error with a code. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe } from "vitest";

import { findState } from "../../../plugins/flannel/state.ts";
import { familiesOf } from "../../../plugins/portmap/port_forward.ts";
import { PortStore } from "../../../plugins/portmap/store.ts";
import { Failure } from "../../../shared/base/failure.ts";
import { hostPortRuleset, hostPortKind } from "../../../shared/firewall/host_ports.ts";
import * as ipt from "../../../shared/firewall/iptables_text.ts";
import { masqueradeKind, masqueradeRuleset } from "../../../shared/firewall/masquerade.ts";
import * as nft from "../../../shared/firewall/nftables_text.ts";
import type { PortForward } from "../../../shared/firewall/port_forward.ts";
import type { IptablesRules, Ruleset } from "../../../shared/firewall/ruleset.ts";
import { frame, nested, Type, addressMessage } from "../../../shared/netlink/codec.ts";
import { linkMessage } from "../../../shared/netlink/link_codec.ts";
import { listRules } from "../../../shared/netlink/nf_tables.ts";
import { getLinks, listAddresses, listLinks } from "../../../shared/netlink/query.ts";
import { listRoutes } from "../../../shared/netlink/route_query.ts";
import { Node } from "../../../shared/node/node.ts";
import { NetlinkSocket } from "../../../shared/netlink/socket.ts";
import { sys as realSys } from "../../../shared/runtime/sys_node.ts";
import { parseCidr } from "../../../shared/net/cidr.ts";
import { listedSpoofCheck, spoofCheckKind } from "../../../shared/firewall/spoof_check.ts";
import { fakeSys } from "../shared/runtime/fake_sys.ts";
import { fuzz, likeBytes, likeTexts, likeValues } from "./hostile.ts";

const EAGAIN = 11;
const MULTI = 2;

/** A socket that receives one datagram, and nothing more. */
function hearing(datagram: Buffer): NetlinkSocket {
  const datagrams = [datagram];
  const sys = fakeSys({
    socket: () => 3,
    setsockopt: () => 0,
    send: (_, data) => data.length,
    recv: (_, into) => {
      const next = datagrams.shift();
      if (next === undefined) return -EAGAIN;
      into.set(next);
      return next.length;
    },
  });
  return new NetlinkSocket(sys);
}

const link = linkMessage(Type.NEWLINK, MULTI, {
  index: 7,
  attrs: { ifname: "cni0", mtu: 1450, address: Buffer.from("020000000001", "hex") },
});
const address = addressMessage(Type.NEWADDR, MULTI, {
  family: 2,
  prefixlen: 24,
  scope: 0,
  index: 7,
  attrs: { local: Buffer.of(10, 244, 1, 1), address: Buffer.of(10, 244, 1, 1) },
});
const ruleBody = Buffer.concat([
  Buffer.of(2, 0, 0, 0),
  nested(1, Buffer.from("cni_hostport\0"), false),
  nested(2, Buffer.from("hostports\0"), false),
  nested(3, Buffer.of(0, 0, 0, 0, 0, 0, 0, 9), false),
  nested(7, Buffer.from("\0\u0005pod1\0"), false),
]);
const rule = { type: 0xa06, flags: MULTI, body: ruleBody };
const done = { type: 3, flags: MULTI, body: Buffer.alloc(4) };
const acknowledged = { type: 2, flags: 0x100, body: Buffer.alloc(20) };
const refused = {
  type: 2,
  flags: 0x300,
  body: Buffer.concat([
    Buffer.of(239, 255, 255, 255),
    Buffer.alloc(16),
    nested(1, Buffer.from("no\0"), false),
  ]),
};
const datagrams = [
  [link, done],
  [link, acknowledged],
  [address, done],
  [rule, done],
  [refused],
].map((messages) => Buffer.concat(messages.map((message) => frame(message, 1))));

describe("the kernel's answers", () => {
  fuzz(
    "netlink",
    likeBytes(datagrams),
    (datagram) => {
      const asked = [
        () => getLinks(hearing(datagram), ["cni0"]),
        () => listLinks(hearing(datagram)),
        () => listAddresses(hearing(datagram), 7),
        () => listRoutes(hearing(datagram)),
        () => listRules(hearing(datagram), 4, "cni_hostport", "hostports"),
      ];
      for (const ask of asked) {
        try {
          ask();
        } catch (error) {
          if (!(error instanceof Failure)) throw error;
        }
      }
    },
    (text) => Buffer.from(text.trim(), "hex"),
  );
});

const digest = (text: string): string => text.padEnd(128, "0");
const forward: PortForward = {
  network: "cbr0",
  containerId: "pod1",
  ifname: "eth0",
  addresses: [parseCidr("10.244.1.2/24")],
  mappings: [
    { hostPort: 8080, containerPort: 80, protocol: "tcp", hostIP: undefined, family: undefined },
  ],
  options: {
    snat: true,
    masqAll: false,
    markMasqBit: 13,
    externalSetMarkChain: undefined,
    conditions: { 4: [], 6: [] },
  },
};
const hostPorts = hostPortRuleset(forward, [forward], digest);
const masquerade = masqueradeRuleset(forward, forward.addresses, digest);

function inIptables(ruleset: Ruleset): IptablesRules {
  const rules = ruleset.iptables(4);
  if (rules === undefined) throw new Error("there are none");
  return rules;
}

const saved = `*nat
:PREROUTING ACCEPT [0:0]
:CNI-HOSTPORT-DNAT - [0:0]
:CNI-0123456789abcdef01234567 - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
-A CNI-HOSTPORT-DNAT -p tcp -m comment --comment "dnat name: \\"cbr0\\" id: \\"pod1\\"" -m multiport --dports 8080 -j CNI-DN-0123456789
-A POSTROUTING -s 10.244.1.2/32 -m comment --comment "name: \\"cbr0\\" id: \\"pod1\\"" -j CNI-0123456789abcdef01234567
COMMIT
`;
const listing = `table ip cni_hostport { # handle 5
	chain hostports { # handle 1
		meta l4proto tcp tcp dport 8080 dnat to 10.244.1.2:80 comment "pod1" # handle 9
		ip saddr 10.0.0.2 ip daddr != 10.0.0.0/24 masquerade comment "0123456789abcdef-0123456789abcdef, net: a" # handle 7
		iifname "veth1" jump cni-br-iface-pod1-eth0 comment "macspoofchk-pod1-eth0" # handle 4
	}
}
`;

describe("listings", () => {
  fuzz(
    "iptables-save",
    likeTexts([saved]),
    (text) => {
      for (const rules of [inIptables(hostPorts), inIptables(masquerade)]) {
        ipt.missingLines(rules, text);
        ipt.unlistedRule(rules, text);
        const lines = ipt.removeListedLines(rules, text);
        // A restore text has one command per line, and only deletes.
        if (lines.some((line) => line.includes("\n") || !/^(:|-[DX] )/.test(line))) {
          throw new Error(`a line that does not delete: ${lines.join("\n")}`);
        }
      }
      for (const kind of [hostPortKind, masqueradeKind]) kind.ownersInIptables?.(text, 4);
    },
    (text) => text,
  );
  fuzz(
    "nft",
    likeTexts([listing]),
    (text) => {
      for (const ruleset of [hostPorts, masquerade]) {
        for (const rules of ruleset.nftables([4])) nft.missingRule(rules, text);
      }
      for (const kind of [hostPortKind, masqueradeKind]) kind.ownersInNftables(text);
      const chains = spoofCheckKind.ownersInNftables(text).flatMap((listed) =>
        listedSpoofCheck(listed)
          .nftables([])
          .flatMap(({ table, ownChains }) => nft.removeChainsCommands(table, ownChains)),
      );
      if (!chains.every((line) => /^(flush|delete) chain bridge nat [\w.-]+$/.test(line))) {
        throw new Error(`not only deletions: ${chains.join("\n")}`);
      }
    },
    (text) => text,
  );
});

const folder = mkdtempSync(join(tmpdir(), "flannel-fuzz-"));
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

const record = {
  netns: "/run/netns/pod1",
  inode: 4026532,
  reserved: true,
  leftover: false,
  foreign: false,
  backend: "iptables",
  ...forward,
  addresses: ["10.244.1.2/24"],
  mappings: [{ hostPort: 8080, containerPort: 80, protocol: "tcp", hostIP: "192.0.2.1" }],
  options: { ...forward.options, externalSetMarkChain: "X" },
};

describe("state files", () => {
  mkdirSync(join(folder, "portmap", "containers"), { recursive: true });
  fuzz(
    "a record of host ports",
    likeValues([record]),
    (value) => {
      writeFileSync(join(folder, "portmap", "containers", "x"), JSON.stringify(value));
      const store = new PortStore(new Node(realSys), () => {}, join(folder, "portmap"));
      for (const { forward: read } of store.list()) {
        const ruleset = hostPortRuleset(read, [read], digest);
        for (const family of familiesOf(read)) {
          ipt.addLines(inIptables(ruleset));
          for (const rules of ruleset.nftables([family])) nft.addCommands(rules);
        }
      }
    },
    (text) => JSON.parse(text) as never,
  );
  fuzz(
    "flannel's state",
    likeTexts(['{"type":"bridge","name":"cbr0","ipam":{"type":"host-local"}}']),
    (text) => {
      writeFileSync(join(folder, "pod1"), text);
      findState(new Node(realSys), folder, { containerId: "pod1", ifname: "eth0" }, "cbr0");
    },
    (text) => text,
  );
});
