/** Nodes with a pod each and an etcd, in a virtual machine. */
import { setTimeout } from "node:timers/promises";
import { expect } from "vitest";
import type { Vm, VmNode } from "../lab/vm.ts";

/** In an emulated machine everything takes its time. */
const patience = 120_000;
const etcd = "http://10.77.0.1:2379";
const flags = `-etcd-endpoints=${etcd} -iface=eth0 -iptables-forward-rules=false`;

export interface VmMember {
  readonly name: string;
  /** Where its files are. */
  readonly folder: string;
  /** The numbers in its subnets' third and fourth places, in the kernel's form. */
  readonly subnet: string;
  readonly subnetV6: string;
  /** Its pod's addresses. */
  readonly pod4: string;
  readonly pod6: string;
  readonly sh: (script: string) => Promise<string>;
  readonly start: (executable?: string) => Promise<void>;
  readonly end: (signal: string) => Promise<void>;
  /** Runs flanneld with these words. */
  readonly flanneld: (words: string) => Promise<string>;
  readonly whenReady: () => Promise<void>;
  /** Waits until it is ready and a route leads through the device. */
  readonly whenJoined: (device: string) => Promise<void>;
  /** Its value in etcd. */
  readonly entry: () => Promise<string>;
  readonly deleteEntry: () => Promise<void>;
  /** One ping from its pod. @returns what ping prints. */
  readonly ping: (to: string, words?: string) => Promise<string>;
  readonly startPings: (to: string) => Promise<Pings>;
}

/** Pings that go on. */
interface Pings {
  /** Ends them. @returns what ping has printed. */
  readonly end: () => Promise<string>;
}

export interface VmCluster {
  readonly members: readonly [VmMember, VmMember, VmMember];
  /** Writes the network's config. */
  readonly configure: (conf: object) => Promise<void>;
  /** Writes a node's value as anybody may who writes to etcd. */
  readonly publish: (subnet: string, value: object) => Promise<void>;
  readonly until: (what: string, check: () => Promise<boolean>) => Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/** Makes nodes on one network, each with a pod; flanneld is not started. */
export async function startNodes(vm: Vm, count: 3): Promise<VmCluster> {
  const router = await vm.createNode();
  await router.sh(`
    echo 1 > /proc/sys/net/ipv6/conf/all/forwarding
    ip link add br77 type bridge
    ip address add 10.77.0.1/24 dev br77
    ip link set br77 up
    /opt/etcd/etcd --data-dir /run/etcd --listen-client-urls ${etcd} \
      --advertise-client-urls ${etcd} --listen-peer-urls http://127.0.0.1:2380 \
      --initial-advertise-peer-urls http://127.0.0.1:2380 \
      --initial-cluster default=http://127.0.0.1:2380 > /run/etcd.log 2>&1 < /dev/null &
    echo $! > /run/etcd.pid
  `);
  const until: VmCluster["until"] = async (what, check) => {
    const end = performance.now() + patience;
    while (!(await check())) {
      if (performance.now() > end) {
        const state = await router.sh("tail -n 30 /run/n?/log; ps; free; dmesg | tail -n 5");
        throw new Error(`${what} has not come true:\n${state}`);
      }
      await setTimeout(100);
    }
  };
  const etcdctl = async (command: string): Promise<string> =>
    router.sh(`ETCDCTL_API=3 ETCDCTL_ENDPOINTS=${etcd} /opt/etcd/etcdctl ${command} 2>&1 || true`);
  const on = { router, until, etcdctl };
  const first = await addMember(on, 1);
  const members = [first, await addMember(on, 2), await addMember(on, count)] as const;
  return {
    members,
    until,
    async configure(conf) {
      const text = JSON.stringify(conf);
      await until("etcd", async () =>
        (await etcdctl(`put /coreos.com/network/config '${text}'`)).includes("OK"),
      );
    },
    async publish(subnet, value) {
      const text = JSON.stringify(value);
      expect(await etcdctl(`put /coreos.com/network/subnets/${subnet} '${text}'`)).toContain("OK");
    },
    async [Symbol.asyncDispose]() {
      await router.sh(`
        kill -9 $(cat /run/*.pid /run/n?/pid) 2> /dev/null || true
        rm -rf /run/etcd* /run/n?
      `);
      await router[Symbol.asyncDispose]();
    },
  };
}

interface Surroundings {
  readonly router: VmNode;
  readonly until: VmCluster["until"];
  readonly etcdctl: (command: string) => Promise<string>;
}

async function addMember(
  { router, until, etcdctl }: Surroundings,
  number: number,
): Promise<VmMember> {
  const [name, folder] = [`n${number}`, `/run/n${number}`];
  const [pod4, pod6] = [`10.244.${number}.2`, `fd00:244:0:${number}::2`];
  const node = await router.addPod(name);
  const pod = await router.addPod(`p${number}`);
  // It keeps the subnets that it finds in its file.
  await router.sh(`
    mkdir -p ${folder}
    printf 'FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.${number}.1/24\n' > ${folder}/subnet.env
    printf 'FLANNEL_IPV6_NETWORK=fd00:244::/48\nFLANNEL_IPV6_SUBNET=fd00:244:0:${number}::1/64\n' >> ${folder}/subnet.env
    printf 'FLANNEL_MTU=1500\nFLANNEL_IPMASQ=false\n' >> ${folder}/subnet.env
    ip link add v${number} type veth peer name eth0 netns ${name}
    ip link set v${number} master br77 up
    ip -n ${name} link add veth type veth peer name eth0 netns p${number}
  `);
  await node.sh(`
    echo 1 > /proc/sys/net/ipv4/ip_forward
    echo 1 > /proc/sys/net/ipv6/conf/all/forwarding
    ip address add 10.77.0.1${number}/24 dev eth0
    ip address add fd77::1${number}/64 dev eth0 nodad
    ip address add 10.244.${number}.1/24 dev veth
    ip address add fd00:244:0:${number}::1/64 dev veth nodad
    for link in lo eth0 veth; do ip link set $link up; done
    ip route add default via 10.77.0.1
  `);
  await pod.sh(`
    ip address add ${pod4}/24 dev eth0
    ip address add ${pod6}/64 dev eth0 nodad
    ip link set eth0 up
    ip route add default via 10.244.${number}.1
    ip -6 route add default via fd00:244:0:${number}::1
  `);
  const key = `/coreos.com/network/subnets/10.244.${number}.0-24`;
  const whenReady = async (): Promise<void> =>
    until(`the network of ${name}`, async () => {
      const isUp = "/^starting$/ { up = 0 } /network is up[.]$/ { up = 1 } END { print up }";
      return (await node.sh(`awk '${isUp}' ${folder}/log`)).trim() === "1";
    });
  return {
    ...{ name, folder, pod4, pod6, whenReady },
    ...{ subnet: String(number), subnetV6: String(number) },
    sh: node.sh,
    async start(executable = "/opt/ours/flanneld") {
      await node.sh(`
        echo starting >> ${folder}/log
        WIREGUARD_KEY_FILE=${folder}/wgkey ${executable} ${flags} -subnet-file=${folder}/subnet.env \
          >> ${folder}/log 2>&1 < /dev/null &
        echo $! > ${folder}/pid
      `);
    },
    async end(signal) {
      await node.sh(`
        kill -${signal} $(cat ${folder}/pid)
        while kill -0 $(cat ${folder}/pid) 2> /dev/null; do sleep 0.05; done
      `);
    },
    flanneld: async (words) =>
      node.sh(`
        WIREGUARD_KEY_FILE=${folder}/wgkey /opt/ours/flanneld ${flags} \
          -subnet-file=${folder}/subnet.env ${words} 2>&1
      `),
    whenReady,
    async whenJoined(device) {
      await whenReady();
      await until(`the routes of ${name}`, async () =>
        (await node.sh("ip route show proto 70")).includes(`dev ${device}`),
      );
    },
    async entry() {
      return (await etcdctl(`get --prefix ${key}`)).trim().split("\n")[1] ?? "";
    },
    async deleteEntry() {
      await etcdctl(`del --prefix ${key}`);
    },
    ping: async (to, words = "") => pod.sh(`ping -n -c 1 -W 5 ${words} ${to} 2>&1 || true`),
    async startPings(to) {
      const file = `${folder}/pings-${to}`;
      await pod.sh(
        `ping -n -D -O -i 0.05 ${to} > ${file} 2>&1 < /dev/null & echo $! > ${file}.pid`,
      );
      return {
        end: async () =>
          pod.sh(`
            kill -INT $(cat ${file}.pid)
            while kill -0 $(cat ${file}.pid) 2> /dev/null; do sleep 0.05; done
            cat ${file}
          `),
      };
    },
  };
}

/** Ends pings. @returns those before the last answered one that were lost, in words; "" for none. */
export async function lostOf(pings: Pings): Promise<string> {
  const output = await pings.end();
  const answered = new Set(
    [...output.matchAll(/icmp_seq=(\d+) ttl=/g)].map(([, number]) => Number(number)),
  );
  if (answered.size === 0) throw new Error(`No ping was answered:\n${output.slice(-2000)}`);
  const lost = Array.from({ length: Math.max(...answered) }, (_, at) => at + 1).filter(
    (number) => !answered.has(number),
  );
  if (lost.length === 0) return "";
  const unanswered = output.split("\n").filter((line) => !line.includes(" ttl="));
  return `lost: ${lost.join(" ")}\n${unanswered.slice(0, 20).join("\n")}`;
}
