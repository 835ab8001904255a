/** Whatever a config, a peer, etcd or an API server may say to flanneld is read, or refused properly. */
import assert from "node:assert/strict";
import { describe } from "vitest";

import { admit } from "../../../daemons/flanneld/leases/admission.ts";
import {
  AnnotationError,
  annotationKeys,
  readLease,
  readSettings,
} from "../../../daemons/flanneld/leases/annotations.ts";
import {
  EntryError,
  formatAttributes,
  parseAttributes,
  parseSubnetKey,
} from "../../../daemons/flanneld/leases/etcd_entries.ts";
import { KubePeers } from "../../../daemons/flanneld/leases/kube_peers.ts";
import { readOptions, UsageError } from "../../../daemons/flanneld/options.ts";
import { Failure } from "../../../shared/base/failure.ts";
import { parseNetConf } from "../../../shared/flannel/net_conf.ts";
import { JsonSplitter, StreamError } from "../../../shared/kube/json_splitter.ts";
import { parseObject, readMetadata } from "../../../shared/kube/metadata.ts";
import { parseCidr } from "../../../shared/net/cidr.ts";
import { fuzz, likeTexts, refused } from "./hostile.ts";

const f = "flannel.alpha.coreos.com/";
const keys = annotationKeys("flannel.alpha.coreos.com");
const node = (name: string) => ({
  kind: "PartialObjectMetadata",
  metadata: {
    name,
    uid: "f647ae2f-2277-4fff-aa46-fb1732c1b709",
    resourceVersion: "15461",
    creationTimestamp: "2026-11-25T11:19:13Z",
    annotations: {
      [`${f}backend-data`]: '{"VNI":1,"VtepMAC":"b2:27:63:ca:a8:ba"}',
      [`${f}backend-type`]: "vxlan",
      [`${f}kube-subnet-manager`]: "true",
      [`${f}public-ip`]: "10.77.0.11",
      [`${f}mtu`]: "1400",
    },
    managedFields: [
      { fieldsV1: { "f:spec": { "f:podCIDRs": { ".": {}, 'v:"10.244.1.0/24"': {} } } } },
    ],
  },
});
const context = {
  network: parseCidr("10.244.0.0/16"),
  ipv6Network: parseCidr("fd00::/48"),
  ownSubnets: [parseCidr("10.244.9.0/24")],
  ownAddresses: [],
  nodeNetworks: [parseCidr("10.77.0.0/24")],
};

function fuzzText(name: string, samples: readonly string[], read: (text: string) => void): void {
  fuzz(name, likeTexts(samples), read, String);
}

describe("flanneld", () => {
  fuzzText(
    "net-conf.json",
    [
      '{"Network":"10.244.0.0/16","Backend":{"Type":"vxlan","VNI":1,"Port":8472}}',
      '{"Network":"10.0.0.0/8","SubnetLen":20,"SubnetMin":"10.10.0.0","SubnetMax":"10.99.0.0"}',
      '{"EnableIPv6":true,"IPv6Network":"fd00::/48","IPv6SubnetLen":64,"Network":"10.0.0.0/8"}',
    ],
    (text) => {
      for (const choosesSubnets of [true, false]) {
        refused(() => {
          parseNetConf(text, { name: "x", choosesSubnets });
        }, Failure);
      }
    },
  );

  fuzzText(
    "a watch's event",
    [`${JSON.stringify({ type: "ADDED", object: node("n1") })}\n`],
    (text) => {
      refused(() => {
        const peers = new KubePeers(keys);
        const splitter = new JsonSplitter("objects", (bytes) => {
          const found = readMetadata(parseObject(bytes), keys.prefix);
          refused(() => readSettings(keys, found.annotations), Failure);
          peers.set(found);
        });
        splitter.push(Buffer.from(text));
        for (const lease of peers.leases.values()) admit(lease, context);
      }, StreamError);
    },
  );

  fuzzText(
    "a list of nodes",
    [JSON.stringify({ metadata: { resourceVersion: "7" }, items: [node("n1"), node("n2")] })],
    (text) => {
      refused(() => {
        const peers = new KubePeers(keys);
        peers.beginList();
        const splitter = new JsonSplitter("list", (bytes, part) => {
          if (part === "item") peers.set(readMetadata(parseObject(bytes), keys.prefix));
        });
        splitter.push(Buffer.from(text));
        if (splitter.isWhole) peers.endList();
        for (const lease of peers.leases.values()) admit(lease, context);
      }, StreamError);
    },
  );

  fuzzText(
    "annotations",
    ['{"VNI":1,"VtepMAC":"b2:27:63:ca:a8:ba"}', "10.77.0.11", "fd00::1"],
    (text) => {
      for (const key of [keys.backendData, keys.backendV6Data, keys.publicIp, keys.publicIpv6]) {
        refused(() => {
          const lease = readLease(keys, "n1", new Map([[key, text]]), ["10.244.1.0/24", text], 0);
          admit(lease, context);
        }, AnnotationError);
      }
    },
  );

  fuzzText("a key of etcd", ["10.244.16.0-24", "10.244.16.0-24&fd00:244:0:2::-64"], (text) => {
    refused(() => parseSubnetKey(text), EntryError);
  });

  fuzzText(
    "a value of etcd",
    [
      '{"PublicIP":"10.77.0.13","PublicIPv6":"fd77::13","BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"22:e3:44:91:79:8e"},"BackendV6Data":null}',
    ],
    (text) => {
      refused(() => {
        const written = formatAttributes(parseAttributes(text));
        assert.equal(formatAttributes(parseAttributes(written)), written);
      }, EntryError);
    },
  );

  fuzzText(
    "a flag",
    ["--iface-regex=^10[.]", "-healthz-port=8081", "--public-ip=10.0.0.1"],
    (text) => {
      refused(() => readOptions([text], { FLANNELD_IP_MASQ: text }), UsageError);
    },
  );
});
