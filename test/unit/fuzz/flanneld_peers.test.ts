/**
 * Whatever peers, the Kubernetes API or etcd say, in one piece or many, whole or cut off: what this
 * node has itself is never sent to a peer, and nothing outside of the network is.
 */
import assert from "node:assert/strict";
import fc from "fast-check";
import { describe } from "vitest";

import type { Backend, ExternalInterface } from "../../../daemons/flanneld/backends/backend.ts";
import { hostGw } from "../../../daemons/flanneld/backends/host_gw.ts";
import { ipip } from "../../../daemons/flanneld/backends/ipip.ts";
import { vxlan } from "../../../daemons/flanneld/backends/vxlan.ts";
import { readWireguardOptions, wireguard } from "../../../daemons/flanneld/backends/wireguard.ts";
import { FamilyState } from "../../../daemons/flanneld/family_state.ts";
import { PeerAdmission } from "../../../daemons/flanneld/leases/admission.ts";
import { annotationKeys } from "../../../daemons/flanneld/leases/annotations.ts";
import { EtcdPeers } from "../../../daemons/flanneld/leases/etcd_peers.ts";
import { KubePeers } from "../../../daemons/flanneld/leases/kube_peers.ts";
import type { PeerLeases } from "../../../daemons/flanneld/leases/lease_manager.ts";
import { PeerBook } from "../../../daemons/flanneld/peer_book.ts";
import type { PeerState } from "../../../daemons/flanneld/peer_state.ts";
import { WireguardState } from "../../../daemons/flanneld/wireguard_state.ts";
import { Churn } from "../../../shared/daemon/churn.ts";
import { readRange, readWatch } from "../../../shared/etcd/messages.ts";
import { MessageWriter, ProtobufError } from "../../../shared/etcd/protobuf.ts";
import { isJsonObject } from "../../../shared/base/json.ts";
import type { Json } from "../../../shared/base/json.ts";
import { Secret } from "../../../shared/base/secret.ts";
import type { Lease } from "../../../shared/flannel/lease.ts";
import { JsonSplitter, StreamError } from "../../../shared/kube/json_splitter.ts";
import { parseObject, readMetadata } from "../../../shared/kube/metadata.ts";
import {
  formatAddress,
  isLoopback,
  isUnspecified,
  parseAddress,
  sameAddress,
} from "../../../shared/net/address.ts";
import type { Family } from "../../../shared/net/address.ts";
import { overlaps, parseCidr } from "../../../shared/net/cidr.ts";
import { isWithin } from "../../../shared/net/subnets.ts";
import { fuzz, likeBytes, likeTexts, likeValues, refused } from "./hostile.ts";

const networks = { ipv4: parseCidr("10.244.0.0/16"), ipv6: parseCidr("fd00:244::/48") };
const own: Lease = {
  ...{ id: "n1", subnet: parseCidr("10.244.1.0/24"), subnetV6: parseCidr("fd00:244:0:1::/64") },
  since: 5,
  attributes: {
    ...{ publicIp: parseAddress("10.77.0.11"), publicIpv6: parseAddress("fd77::11") },
    ...{ backendType: "vxlan", backendData: undefined, backendV6Data: undefined },
  },
};
const external: ExternalInterface = {
  ...{ name: "eth0", index: 2, mtu: 1500 },
  ...{ address: parseAddress("10.77.0.11"), addressV6: parseAddress("fd77::11") },
  ...{ publicIp: parseAddress("10.77.0.11"), publicIpv6: parseAddress("fd77::11") },
};
const macs = { ipv4: "02:00:00:00:00:01", ipv6: "02:00:00:00:01:01" };
/** What the node is connected to: the other nodes, and a network inside of the pods'. */
const connected = {
  4: [parseCidr("10.77.0.0/24"), parseCidr("10.244.200.0/24")],
  6: [parseCidr("fd77::/64"), parseCidr("fd00:244:0:200::/64")],
};
const addresses = {
  4: [parseAddress("10.77.0.11"), parseAddress("10.77.0.1")],
  6: [parseAddress("fd77::11"), parseAddress("fd77::1")],
};
const options = {
  ...{ vni: 1, port: undefined, mtu: undefined, gbp: false, learning: false },
  directRouting: true,
};
const keyOf = (byte: number): string => Buffer.alloc(32, byte).toString("base64");
const keysOfNode = { publicKey: keyOf(1), privateKey: new Secret(Buffer.alloc(32, 2)) };
const wireguardBackends = ["separate", "auto", "ipv4", "ipv6"].map((Mode) =>
  wireguard(networks, readWireguardOptions({ Mode }), keysOfNode),
);
const backends: readonly Backend[] = [
  ...[vxlan(networks, options), hostGw(networks), ...wireguardBackends],
  ipip({ ...networks, ipv6: undefined }, { DirectRouting: true }),
];

/** Goes the way of leases to what is wanted of the kernel, and looks at that; twice, as if renewed. */
function judge(read: () => PeerLeases): void {
  const admission = new PeerAdmission(
    {
      ...{ network: networks.ipv4, ipv6Network: networks.ipv6 },
      ownSubnets: [own.subnet, own.subnetV6].filter((subnet) => subnet !== undefined),
      ownAddresses: [...addresses[4], ...addresses[6]],
      nodeNetworks: [...connected[4], ...connected[6]],
    },
    new Churn(() => undefined),
  );
  const { leases } = admission.update(read());
  for (const backend of backends) {
    const families = familiesOf(backend);
    const book = new PeerBook(backend, families);
    const side = {
      external,
      devices: backend.devices(own, external, macs),
      networks: new Map(
        ([4, 6] as const).map((family) => [
          family,
          { connected: connected[family], addresses: addresses[family] },
        ]),
      ),
      isPublished: true,
      nextHops: (asked: readonly unknown[]) => asked.map(() => ({ link: 2, gateway: undefined })),
    };
    for (const _ of book.surround(side)) continue;
    for (const _ of book.update(leases)) continue;
    const joined = [...book.states()].filter(({ objects }) => objects !== undefined);
    for (const [at, { peer, objects }] of joined.entries()) {
      const { family } = peer.subnet.address;
      const network = family === 4 ? networks.ipv4 : networks.ipv6;
      assert.ok(isWithin(peer.subnet, network), "outside of the network");
      const taken = [own.subnet, own.subnetV6, ...connected[family]];
      for (const subnet of taken) assert.ok(!subnet || !overlaps(subnet, peer.subnet), "taken");
      for (const address of addresses[family]) {
        assert.ok(!sameAddress(address, peer.publicIp) || address === addresses[family][1]);
      }
      assert.ok(!isUnspecified(peer.publicIp));
      const mac = objects?.vtepMac;
      assert.ok(mac === undefined || /^[\da-f][02468ace](?::[\da-f]{2}){5}$/.test(mac), mac);
      assert.ok(mac !== macs.ipv4 && mac !== macs.ipv6 && mac !== "00:00:00:00:00:00");
      for (const rival of joined.slice(at + 1)) {
        assert.ok(!overlaps(peer.subnet, rival.peer.subnet), "two have one subnet");
      }
    }
    judgeWireguard(joined);
    for (const _ of book.update(read().leases)) continue;
  }
}

/** Keys are of one node each, and packets go to where there may be a node. */
function judgeWireguard(joined: readonly PeerState[]): void {
  const owners = new Map<string, string>();
  for (const { peer, objects } of joined) {
    const { publicKey, endpoint } = objects?.wireguard ?? {};
    if (publicKey === undefined) continue;
    assert.ok(/^[\w+/]{43}=$/.test(publicKey) && publicKey !== keysOfNode.publicKey, publicKey);
    const device = `${String(objects?.link)} ${publicKey}`;
    assert.equal(owners.get(device) ?? peer.id, peer.id, "two have one key");
    owners.set(device, peer.id);
    assert.ok(endpoint !== undefined && endpoint.port > 0 && endpoint.port < 65_536);
    const { address } = endpoint;
    assert.ok(!isUnspecified(address) && !isLoopback(address), "nobody's address");
    const [first] = formatAddress(address).split(/[.:]/);
    assert.ok(!["ff02", "224", "255"].includes(first ?? ""), "many nodes' address");
    for (const ours of [...addresses[4], ...addresses[6]]) assert.ok(!sameAddress(address, ours));
  }
}

/** What there is of each family that a backend carries. */
function familiesOf({ type, wireguardDevices }: Backend) {
  const names = wireguardDevices ?? new Map<Family, string>();
  const states = new Map([...names.values()].map((name) => [name, new WireguardState(name)]));
  const families = ([4, 6] as const).filter((family) => family === 4 || type !== "ipip");
  return new Map(
    families.map((family) => [family, familyOf(family, states.get(names.get(family) ?? ""))]),
  );
}

function familyOf(family: Family, encrypting: WireguardState | undefined) {
  const network = family === 4 ? networks.ipv4 : networks.ipv6;
  const ownership = { networks: [network], ownSubnets: [] };
  const state = new FamilyState(
    ...([
      family,
      { ...ownership, isDevice: () => false, isPeer: () => false },
      encrypting,
    ] as const),
  );
  return { network, state, ownSubnet: family === 4 ? own.subnet : own.subnetV6 };
}

const f = "flannel.alpha.coreos.com/";
const keys = annotationKeys("flannel.alpha.coreos.com");

/** Subnets that a peer may have, and that it must not have. */
const subnets = [
  ...["10.244.2.0/24", "fd00:244:0:2::/64", "10.244.1.0/24", "10.244.1.128/25", "10.244.0.0/16"],
  ...["10.244.0.0/15", "0.0.0.0/0", "10.77.0.0/24", "10.244.200.0/24", "192.168.7.0/24", "::/0"],
  ...["fd00:244:0:1::/64", "fd00:244:0:200::/64", "fd77::/64", "10.244.3.7/24", "10.244.2.0/25"],
];
const publicIps = [
  ...["10.77.0.12", "10.77.0.11", "10.77.0.1", "0.0.0.0", "255.255.255.255", "224.0.0.1"],
  ...["127.0.0.1", "10.244.1.5", "10.244.2.2", "fd77::12", ""],
  ...["fd77::11", "fd00:244:0:1::5", "::", "::1", "ff02::1"],
];
const data = [
  ...['{"VNI":1,"VtepMAC":"b2:27:63:ca:a8:ba"}', "null", "[]", '{"VNI":7}', '{"VtepMAC":7}', ""],
  ...['{"VNI":1,"VtepMAC":"02:00:00:00:00:01"}', '{"VNI":1,"VtepMAC":"ff:ff:ff:ff:ff:ff"}'],
  ...[1, 3, 4].map(
    (byte) => `{"PublicKey":"${keyOf(byte)}","Port":${[51820, 0, 7, 65536][byte % 4]}}`,
  ),
  ...[`{"PublicKey":"${keyOf(0)}"}`, `{"PublicKey":"${keyOf(3).slice(4)}"}`, '{"PublicKey":{}}'],
  ...['{"VNI":1,"VtepMAC":"00:00:00:00:00:00"}', '{"__proto__":{"VtepMAC":"b2:27:63:ca:a8:bb"}}'],
];
const deepData = `{"VNI":1,"VtepMAC":"b2:27:63:ca:a8:bc","x":${"[".repeat(20_000)}${"]".repeat(20_000)}}`;
const types = ["vxlan", "host-gw", "wireguard", "", "__proto__"];

/** Mostly the one that is right. */
const mostly = (right: string, wrong: readonly string[]) =>
  fc.oneof({ weight: 4, arbitrary: fc.constant(right) }, fc.constantFrom(...wrong));

/** Nearly right, as a peer of wireguard. */
const encrypting = fc.record({
  name: fc.constantFrom("n2", "n3"),
  subnets: fc
    .tuple(
      fc.constantFrom("10.244.2.0/24", "10.244.3.0/24"),
      mostly("fd00:244:0:2::/64", ["fd00:244:0:3::/64", "::/0", ""]),
    )
    .map((all) => all.filter((subnet) => subnet !== "")),
  publicIp: mostly("10.77.0.12", publicIps),
  publicIpv6: mostly("fd77::12", publicIps),
  data: mostly(`{"PublicKey":"${keyOf(3)}","Port":51820}`, data),
  dataV6: mostly(`{"PublicKey":"${keyOf(3)}","Port":51821}`, data),
  type: mostly("wireguard", types),
});

const anyStatement = fc.record({
  name: fc.constantFrom("n1", "n2", "n3", "n4", "__proto__", ""),
  subnets: fc.array(fc.constantFrom(...subnets), { maxLength: 3 }),
  publicIp: fc.constantFrom(...publicIps),
  publicIpv6: fc.constantFrom(...publicIps),
  data: fc.oneof(
    { weight: 50, arbitrary: fc.constantFrom(...data) },
    { weight: 1, arbitrary: fc.constant(deepData) },
  ),
  dataV6: fc.constantFrom(...data),
  type: fc.constantFrom(...types),
});
const statement = fc.oneof(anyStatement, encrypting);
type Statement = typeof statement extends fc.Arbitrary<infer T> ? T : never;

function node(peer: Statement): Json {
  return {
    kind: "PartialObjectMetadata",
    metadata: {
      ...{ name: peer.name, uid: peer.type, resourceVersion: "7" },
      creationTimestamp: "2026-11-25T11:19:13Z",
      annotations: {
        [`${f}kube-subnet-manager`]: "true",
        [`${f}backend-type`]: peer.type,
        [`${f}backend-data`]: peer.data,
        [`${f}backend-v6-data`]: peer.dataV6,
        [`${f}public-ip`]: peer.publicIp,
        [`${f}public-ipv6`]: peer.publicIpv6,
      },
      managedFields: [
        {
          fieldsV1: {
            "f:spec": {
              "f:podCIDRs": Object.fromEntries(
                peer.subnets.map((subnet) => [`v:${JSON.stringify(subnet)}`, {}]),
              ),
            },
          },
        },
      ],
    },
  };
}

/** A stream in pieces, whole or cut off somewhere. */
interface Stream {
  readonly bytes: Buffer;
  readonly piece: number;
}

function streamOf(texts: fc.Arbitrary<string>): fc.Arbitrary<Stream> {
  return fc
    .tuple(texts, fc.integer({ min: 1, max: 3000 }), fc.double({ min: 0, max: 1, noNaN: true }))
    .map(([text, piece, share]) => {
      const bytes = Buffer.from(text);
      // Half of them are whole.
      return { bytes: bytes.subarray(0, Math.ceil(bytes.length * Math.min(1, share * 2))), piece };
    });
}

function push(splitter: JsonSplitter, { bytes, piece }: Stream): void {
  for (let at = 0; at < bytes.length; at += piece) splitter.push(bytes.subarray(at, at + piece));
}

const whole = (text: string): Stream => ({ bytes: Buffer.from(text), piece: 1000 });
const statements = fc.array(statement, { minLength: 1, maxLength: 4 });
const known: Statement = {
  ...{ name: "n2", subnets: ["10.244.2.0/24"], publicIp: "10.77.0.12", publicIpv6: "" },
  ...{ data: data[0] ?? "", dataV6: "null", type: "vxlan" },
};

/** Nodes as they may be, with other values in some places, or with other letters. */
function textsOf(toText: (peers: readonly Statement[]) => string, samples: readonly Json[]) {
  return fc.oneof(
    statements.map(toText),
    likeValues(samples).map((value) => JSON.stringify(value)),
    likeTexts([toText([known]), toText([known, { ...known, name: "n3" }])]),
  );
}

const listOf = (peers: readonly Statement[]): Json => ({
  metadata: { resourceVersion: "7" },
  items: peers.map(node),
});
const eventOf = (peer: Statement): Json => ({ type: "MODIFIED", object: node(peer) });

/** As etcd has it, with data that may be no JSON. */
function valueOf(peer: Statement): string {
  return (
    `{"PublicIP":${JSON.stringify(peer.publicIp)},"PublicIPv6":${JSON.stringify(peer.publicIpv6)},` +
    `"BackendType":${JSON.stringify(peer.type)},"BackendData":${peer.data || "null"},` +
    `"BackendV6Data":${peer.dataV6 || "null"}}`
  );
}

describe("what this node wants of the kernel", () => {
  fuzz(
    "lists of nodes in pieces",
    streamOf(textsOf((peers) => JSON.stringify(listOf(peers)), [listOf([known])])),
    (stream) => {
      judge(() => {
        const peers = new KubePeers(keys);
        refused(() => {
          peers.beginList();
          const splitter = new JsonSplitter("list", (bytes, part) => {
            if (part === "item") peers.set(readMetadata(parseObject(bytes), keys.prefix));
          });
          push(splitter, stream);
          if (splitter.isWhole) peers.endList();
        }, StreamError);
        const { leases, unreadable, changed } = peers;
        return { leases, unreadable, complete: true, changed: changed.take() };
      });
    },
    whole,
  );

  fuzz(
    "watches of nodes in pieces",
    streamOf(
      textsOf(
        (peers) => peers.map((peer) => `${JSON.stringify(eventOf(peer))}\n`).join(""),
        [eventOf(known)],
      ),
    ),
    (stream) => {
      judge(() => {
        const peers = new KubePeers(keys);
        refused(() => {
          const splitter = new JsonSplitter("objects", (bytes) => {
            const { object } = parseObject(bytes);
            if (isJsonObject(object)) peers.set(readMetadata(object, keys.prefix));
          });
          push(splitter, stream);
        }, StreamError);
        const { leases, unreadable, changed } = peers;
        return { leases, unreadable, complete: true, changed: changed.take() };
      });
    },
    whole,
  );

  const entry = fc.tuple(
    fc.oneof(
      fc.constantFrom(...subnets).map((subnet) => subnet.replace("/", "-")),
      fc.constantFrom("10.244.2.0-24", "10.244.3.0-24&fd00:244:0:3::-64"),
      likeTexts(["10.244.2.0-24", "10.244.2.0-24&fd00:244:0:2::-64"]),
    ),
    fc.oneof(statement.map(valueOf), likeTexts([valueOf(known)])),
  );

  fuzz(
    "entries of etcd",
    fc.array(entry, { minLength: 1, maxLength: 4 }),
    (entries) => {
      judge(() => {
        const peers = new EtcdPeers();
        // Twice, as after a renewal.
        for (const [at, [id, value]] of [...entries, ...entries].entries()) {
          peers.set(id, {
            ...{ key: id, value: Buffer.from(value), lease: 0n },
            ...{ createRevision: 1, modRevision: at + 1 },
          });
        }
        const { leases, unreadable, changed } = peers;
        return { leases, unreadable, complete: true, changed: changed.take() };
      });
    },
    (text): [string, string][] => [["10.244.2.0-24", text]],
  );

  const keyValue = new MessageWriter()
    .message(1, Buffer.from("/coreos.com/network/subnets/10.244.2.0-24"))
    .integer(2, 7n)
    .integer(3, 9n)
    .integer(4, 1n)
    .message(5, Buffer.from(valueOf(known)))
    .finish();
  const event = new MessageWriter().message(2, keyValue).finish();
  const header = new MessageWriter().integer(3, 9n).finish();
  fuzz(
    "messages of etcd",
    likeBytes([
      new MessageWriter().message(1, header).message(2, keyValue).integer(3, 1n).finish(),
      new MessageWriter().message(1, header).message(11, event).message(11, event).finish(),
    ]),
    (message) => {
      judge(() => {
        const peers = new EtcdPeers();
        refused(() => {
          for (const kv of readRange(message).kvs) peers.set(kv.key.slice(28), kv);
          for (const { kv } of readWatch(message).events) peers.set(kv.key.slice(28), kv);
        }, ProtobufError);
        const { leases, unreadable, changed } = peers;
        return { leases, unreadable, complete: true, changed: changed.take() };
      });
    },
    (text) => Buffer.from(text.trim(), "hex"),
  );
});
