/** What gives flanneld its leases in a bench: a stand-in for the Kubernetes API, or etcd. */
import { startEtcd, startKubeApi } from "../../test/helpers/flanneld.ts";
import type { Fabric, FabricNode } from "../../test/lab/fabric.ts";

/** Where leases come from. */
export interface LeaseSource {
  readonly args: readonly string[];
  /** Makes a node as it is before its flanneld's first start. */
  readonly renew: (node: FabricNode) => Promise<void>;
  /** One peer more, with a route to 10.250.NUMBER.0/24. @returns when, in milliseconds since the epoch. */
  readonly addPeer: (number: number) => Promise<number>;
  readonly removePeer: (number: number) => Promise<void>;
  /** A sign of life of a watch that has nothing to tell, which comes each minute. */
  readonly bookmark: () => Promise<void>;
  /** A heartbeat of a peer: nothing of what flanneld looks at. */
  readonly touch: (number: number) => Promise<void>;
}

export const sources = ["API", "etcd"] as const;
export type SourceName = (typeof sources)[number];

const netConf = JSON.stringify({ Network: "10.128.0.0/9", Backend: { Type: "vxlan" } });
/** Bytes of a Node, most of them the images that its kubelet reports. */
const nodeBytes = 12_000;

/** @param peers how many there are from the start. */
export async function startSource(
  name: SourceName,
  fabric: Fabric,
  peers: number,
): Promise<LeaseSource> {
  return name === "API" ? startApi(fabric, peers) : startStore(fabric, peers);
}

async function startApi({ router, nodes }: Fabric, peers: number): Promise<LeaseSource> {
  const api = await startKubeApi(router, { host: "10.77.0.1", port: 6443 });
  const key = "flannel.alpha.coreos.com/";
  const annotations = {
    [`${key}kube-subnet-manager`]: "true",
    [`${key}backend-type`]: "vxlan",
    [`${key}backend-data`]: '{"VNI":1,"VtepMAC":"%mac"}',
    [`${key}public-ip`]: "%ip",
  };
  await api.call("setNodes", peers, "p", annotations, nodeBytes);
  for (const { sandbox } of nodes) await sandbox.writeFile("/run/net-conf.json", netConf);
  return {
    args: [
      ...["-kube-subnet-mgr", "-kube-api-url=http://10.77.0.1:6443"],
      "-net-config-path=/run/net-conf.json",
    ],
    async renew({ name, address4 }) {
      await api.call("deleteNode", name);
      const third = address4.slice(address4.lastIndexOf(".") + 1);
      await api.call("setNode", name, { podCIDRs: [`10.251.${third}.0/24`] });
    },
    async addPeer(number) {
      const own = {
        ...annotations,
        [`${key}backend-data`]: JSON.stringify({ VNI: 1, VtepMAC: macOf(0xfe00 + number) }),
        [`${key}public-ip`]: `10.98.0.${number}`,
      };
      const podCIDRs = [`10.250.${number}.0/24`];
      await api.call("setNode", `new${number}`, { podCIDRs, annotations: own, ballast: nodeBytes });
      return api.call("lastPublished");
    },
    removePeer: async (number) => api.call("deleteNode", `new${number}`),
    bookmark: async () => api.call("bookmark"),
    touch: async (number) => api.call("touch", `p${number % peers}`),
  };
}

async function startStore({ router }: Fabric, peers: number): Promise<LeaseSource> {
  const [url, prefix] = ["http://10.77.0.1:2379", "/coreos.com/network"];
  const etcd = await startEtcd(router, { url });
  await etcd.ctl("put", `${prefix}/config`, netConf);
  const keyOf = (second: number, third: number) => `${prefix}/subnets/10.${second}.${third}.0-24`;
  for (let from = 0; from < peers; from += 100) {
    const puts = Array.from({ length: Math.min(100, peers - from) }, (_, more) => {
      const at = from + more;
      const value = valueOf(`10.99.${at >> 8}.${at & 255}`, at);
      return `put ${keyOf(128 + (at >> 8), at & 255)} ${JSON.stringify(value)}`;
    });
    // Nothing to compare, what to do, and nothing to do otherwise.
    await etcd.transact(`\n${puts.join("\n")}\n\n\n`);
  }
  return {
    args: [`-etcd-endpoints=${url}`],
    async renew({ address4 }) {
      for (const { key, value } of await etcd.entries(`${prefix}/subnets`)) {
        if (value.includes(`"${address4}"`)) await etcd.ctl("del", key);
      }
    },
    addPeer: async (number) => {
      await etcd.ctl("put", keyOf(250, number), valueOf(`10.98.0.${number}`, 0xfe00 + number));
      return performance.timeOrigin + performance.now();
    },
    removePeer: async (number) => {
      await etcd.ctl("del", keyOf(250, number));
    },
    bookmark: async () => undefined,
    touch: async () => undefined,
  };
}

function valueOf(PublicIP: string, mac: number): string {
  const BackendData = { VNI: 1, VtepMAC: macOf(mac) };
  return JSON.stringify({ PublicIP, PublicIPv6: null, BackendType: "vxlan", BackendData });
}

function macOf(number: number): string {
  const [high, low] = [number >> 8, number & 255].map((byte) => byte.toString(16).padStart(2, "0"));
  return `02:00:00:00:${high}:${low}`;
}
