/** L9: whatever is in the place of a file that a pod with host ports leaves, every call ends. */
import { describe, expect, test } from "vitest";
import {
  binDir,
  cni,
  cniOk,
  type CniAnswer,
  type CniJson,
  type Conf,
  type Sandbox,
} from "../helpers/cni.ts";
import { testSome } from "../helpers/form.ts";
import { flannelConf, IPV4, subnetEnv } from "../helpers/network.ts";
import {
  containerRules,
  createNode,
  IPTABLES_NFT,
  NFTABLES,
  WEB_AND_DNS,
  type Backend,
} from "../helpers/portmap.ts";
import { expectError } from "../helpers/state.ts";

/** Milliseconds that a call may take, on a busy machine. */
const LIMIT = 12_000;
const RESULT = "/var/lib/cni/results/cbr0-pod1-eth0";

/** Shell commands that put something in a place. */
const INTRUDERS: Readonly<Record<string, string>> = {
  "a FIFO": "mkfifo $PLACE",
  "a folder": "mkdir $PLACE",
  "a folder with a file": "mkdir $PLACE; : > $PLACE/file",
  "a socket": `perl -MIO::Socket::UNIX -e 'IO::Socket::UNIX->new(Local=>$ENV{PLACE},Listen=>1) or die'`,
  "a link to a device": "ln -s /dev/zero $PLACE",
  "a link to itself": "ln -s $PLACE $PLACE",
  "gigabytes of nothing": "truncate -s 3G $PLACE",
  "an empty file": ": > $PLACE",
  "half a file": "head -c 20 /run/was > $PLACE",
};

/** The files that a pod leaves, and which it may share with others. */
const FILES: readonly string[] = [
  "/run/flannel-cni/locks/*.lock",
  "/run/flannel-cni/locks/*.turn",
  "/run/flannel-cni/portmap/containers/*",
  "/run/flannel-cni/portmap/ids/*",
  "/run/flannel-cni/portmap/links/*",
  "/run/flannel-cni/portmap/localnet/*",
  "/run/flannel-cni/portmap/ports/*",
  "/run/flannel-cni/portmap/lock",
  "/run/flannel-cni/portmap/rules.lock",
  "/run/flannel-cni/portmap/shared",
  "/var/lib/cni/flannel/*",
  "/var/lib/cni/networks/cbr0/10.*",
  "/var/lib/cni/networks/cbr0/last_reserved_ip.0",
  "/var/lib/cni/networks/cbr0/lock",
  "/var/lib/cni/results/*",
];

/** The folders that a file may be in the place of. */
const FOLDERS: readonly string[] = [
  "/run/flannel-cni/locks",
  "/run/flannel-cni/portmap",
  "/run/flannel-cni/portmap/containers",
  "/run/flannel-cni/portmap/ports",
  "/run/flannel-cni/portmap/leftovers",
  "/var/lib/cni/flannel",
  "/var/lib/cni/networks/cbr0",
  "/var/lib/cni/results",
];

const BACKENDS: Readonly<Record<string, Backend>> = { iptables: IPTABLES_NFT, nftables: NFTABLES };

type Command = Parameters<typeof cni>[1]["command"];

/** Expects success or an error with a code, soon enough. */
function expectEnd(answer: CniAnswer, what: string, time: number): void {
  expect(time, `${what}: ${answer.stdout}`).toBeLessThan(LIMIT);
  if (answer.code !== 0) expectError(answer, [5, 11, 50, 100, 101, 102, 103, 104, 105]);
}

/** Calls of both plugins for a pod. */
class Pod {
  readonly #node: Sandbox;
  readonly #backend: Backend;
  readonly #name: string;
  prevResult: CniJson | undefined;

  constructor(node: Sandbox, backend: Backend, name: string) {
    this.#node = node;
    this.#backend = backend;
    this.#name = name;
  }

  async call(plugin: "flannel" | "portmap", command: Command, more: Conf = {}): Promise<CniAnswer> {
    const { conf, env } = this.#backend;
    const started = performance.now();
    const answer = await cni(this.#node, {
      bin: binDir(),
      plugin,
      command,
      containerId: this.#name,
      netns: `/run/netns/${this.#name}`,
      extraEnv: env,
      conf: {
        ...(plugin === "flannel"
          ? flannelConf("1.1.0")
          : { ...conf, cniVersion: "1.1.0", name: "cbr0", type: "portmap" }),
        runtimeConfig: { portMappings: WEB_AND_DNS },
        ...(this.prevResult === undefined ? {} : { prevResult: this.prevResult }),
        ...more,
      },
    });
    expectEnd(answer, `${plugin} ${command}`, performance.now() - started);
    return answer;
  }

  /** ADD of both, as far as it goes. */
  async add(): Promise<CniAnswer> {
    const first = await this.call("flannel", "ADD");
    if (first.code !== 0) return first;
    this.prevResult = first.json;
    return this.call("portmap", "ADD");
  }

  /** DEL of both. @returns the codes. */
  async del(): Promise<number[]> {
    const answers = [await this.call("portmap", "DEL"), await this.call("flannel", "DEL")];
    return answers.map(({ code }) => code);
  }

  /** GC of both, for which nothing exists. */
  async gc(): Promise<number[]> {
    const more = { "cni.dev/valid-attachments": [] };
    const answers = [
      await this.call("portmap", "GC", more),
      await this.call("flannel", "GC", more),
    ];
    return answers.map(({ code }) => code);
  }
}

async function createPod(backend: Backend): Promise<{ node: Sandbox; pod: Pod }> {
  const node = await createNode(backend);
  await node.writeFile("/run/flannel/subnet.env", subnetEnv([IPV4]));
  await node.addPod("pod1");
  await node.addPod("pod2");
  const pod = new Pod(node, backend, "pod1");
  const added = await pod.add();
  expect(added.code, added.stdout).toBe(0);
  // As a runtime keeps it.
  await node.writeFile(RESULT, JSON.stringify({ kind: "cniCacheV1", result: pod.prevResult }));
  return { node, pod };
}

/** Replaces what a glob matches. */
async function replace(node: Sandbox, glob: string, intruder: string): Promise<void> {
  const put = INTRUDERS[intruder] ?? "false";
  const script = `set -e; export PLACE; for PLACE in $GLOB; do rm -rf /run/was; mv $PLACE /run/was; ${put}; done`;
  await node.sh(script, { env: { GLOB: glob } });
}

const backendOf = (at: number): string => (at % 2 === 0 ? "iptables" : "nftables");

const cases = [
  ...FILES.flatMap((place) => Object.keys(INTRUDERS).map((intruder) => [place, intruder] as const)),
  ...FOLDERS.flatMap((place) =>
    ["a FIFO", "an empty file", "a link to itself"].map((intruder) => [place, intruder] as const),
  ),
].map(([place, intruder], at) => [place, intruder, backendOf(at)] as const);

describe.concurrent("L9 on a node with a pod", () => {
  test("no file is left out", async () => {
    const { node } = await createPod(IPTABLES_NFT);
    await using _ = node;
    const found = await node.sh("find /run/flannel-cni /var/lib/cni -type f");
    const patterns = FILES.map((glob) => {
      const parts = glob.split("*").map((part) => RegExp.escape(part));
      return new RegExp(`^${parts.join("[^/]*")}$`);
    });
    const unknown = found
      .split("\n")
      .filter((file) => file !== "" && !patterns.some((pattern) => pattern.test(file)));
    expect(unknown).toEqual([]);
  });

  testSome(
    cases,
    32,
    16,
  )("every call ends where %s is %s (%s)", async ([place, intruder, name]) => {
    const backend = BACKENDS[name];
    if (backend === undefined) throw new Error(`no backend ${name}`);
    const { node, pod } = await createPod(backend);
    await using _ = node;
    await replace(node, place, intruder);
    await pod.call("flannel", "STATUS");
    await pod.call("portmap", "STATUS");
    await pod.call("flannel", "CHECK");
    await pod.call("portmap", "CHECK");
    // The same host ports, for another pod.
    const rival = new Pod(node, backend, "pod2");
    await rival.add();
    await rival.del();
    const deleted = await pod.del();
    expect(deleted[0], "a DEL of portmap").toBe(0);
    await pod.gc();
    // Whoever reads the messages has removed what they name.
    await node.sh("rm -rf $GLOB", { env: { GLOB: place } });
    await node.writeFile("/run/flannel/subnet.env", subnetEnv([IPV4]));
    expect([...(await rival.del()), ...(await pod.del()), ...(await pod.gc())]).toEqual([
      0, 0, 0, 0, 0, 0,
    ]);
    expect(await containerRules(node, backend)).toEqual([]);
    expect(await node.sh("ls /var/lib/cni/networks/cbr0 | grep ^10 || true")).toBe("");
    expect(await node.sh("find /run/flannel-cni/portmap/*/ -type f ! -path '*/departed/*'")).toBe(
      "",
    );
    // And the node is as good as new.
    await cniOk(node, {
      bin: binDir(),
      plugin: "flannel",
      command: "ADD",
      containerId: "pod1",
      conf: flannelConf(),
    });
  });
});
