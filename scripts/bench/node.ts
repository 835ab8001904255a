/** A node to measure on: a sandbox with pods, and in it a worker that calls the plugins. */
import { join, resolve } from "node:path";

import { fullExecutable } from "../../shared/files/paths.ts";
import { linkLegacyTools } from "../../test/lab/legacy_tools.ts";
import type { Service } from "../../test/lab/process.ts";
import { createSandbox } from "../../test/lab/sandbox.ts";
import type { Sandbox } from "../../test/lab/sandbox.ts";
import type { Call, Reply, Request } from "./protocol.ts";
import { confOf, crowdConf, subnetEnv } from "./scenarios.ts";
import type { Backend, Conf, Plugin, Scenario } from "./scenarios.ts";

/**
 * Ours alone; ours with an agent, by the client in the executable and by the native one; the reference; and
 * the least that there can be.
 */
export const sides = ["ours", "agent", "native", "reference", "floor"] as const;
export type Side = (typeof sides)[number];

const systemPath = "/usr/sbin:/usr/bin:/sbin:/bin";
const legacyTools = "/run/bench/tools";
/** The namespace that all background pods share. */
const crowd = "crowd";
/** How many background pods are made at once. */
const crowdAtOnce = 8;

/** The plugins of a folder on a node of their own. */
export class BenchNode {
  readonly #sandbox: Sandbox;
  readonly #worker: Service;
  readonly #bin: string;
  readonly #scenario: Scenario;
  /** The chain, with bridge instead of flannel if the folder has no flannel. */
  readonly plugins: readonly Plugin[];
  #calls = 0;

  private constructor(
    sandbox: Sandbox,
    worker: Service,
    bin: string,
    plugins: readonly Plugin[],
    scenario: Scenario,
  ) {
    this.#sandbox = sandbox;
    this.#worker = worker;
    this.#bin = bin;
    this.plugins = plugins;
    this.#scenario = scenario;
  }

  /** Makes a node with the pods and reservations that the scenario starts with. */
  static async create(
    side: Side,
    bin: string,
    plugins: readonly Plugin[],
    scenario: Scenario,
  ): Promise<BenchNode> {
    const sandbox = await createSandbox();
    await sandbox.sh(`
      mkdir -p /run/flannel
      printf '${subnetEnv(scenario.dual).replaceAll("\n", "\\n")}' > /run/flannel/subnet.env
      ${linkLegacyTools(legacyTools)}
    `);
    await sandbox.addPods(Array.from({ length: scenario.atOnce }, (_, lane) => `pod${lane}`));
    const script = side === "floor" ? "scripts/bench/floor.ts" : "scripts/bench/worker.ts";
    const agents = {
      agent: ["flannel"],
      native: [fullExecutable],
      ours: [],
      reference: [],
      floor: [],
    };
    const agent = agents[side].map((name) => join(bin, name));
    const worker = await sandbox.start(process.execPath, [resolve(script), ...agent]);
    const node = new BenchNode(sandbox, worker, bin, plugins, scenario);
    await node.#fill();
    return node;
  }

  /** Leaves nothing of pods on the node, as a reboot does. Whatever runs goes on. */
  async reboot(): Promise<void> {
    await this.#sandbox.sh(`
      nft flush ruleset
      ip -o link show type bridge | cut -d: -f2 | xargs -rn1 ip link del
      find /run/flannel-cni -mindepth 1 -maxdepth 1 ! -name agent -exec rm -rf {} + 2>/dev/null || true
      rm -rf /var/lib/cni/networks /var/lib/cni/flannel`);
  }

  /** Makes the scenario's pods, each with its plugins one after another. */
  async add(memory = false): Promise<Reply> {
    this.#calls++;
    return this.#ask(memory, "ADD", this.plugins);
  }

  /** Deletes them, with the results of ADD, in reverse order as runtimes do. */
  async del(results: readonly unknown[], memory = false): Promise<Reply> {
    return this.#ask(memory, "DEL", this.plugins.toReversed(), results);
  }

  async close(): Promise<void> {
    await this.#worker.stop();
    await this.#sandbox.close();
  }

  async #ask(
    memory: boolean,
    verb: "ADD" | "DEL",
    plugins: readonly Plugin[],
    results?: readonly unknown[],
  ): Promise<Reply> {
    const lanes = Array.from({ length: this.#scenario.atOnce }, (_, lane) =>
      plugins.map((plugin, at): Call => {
        const conf = confOf(plugin, this.#scenario, lane);
        return {
          file: join(this.#bin, plugin),
          env: this.#env(verb, `${lane}-${this.#calls}`, `/run/netns/pod${lane}`, "eth0"),
          conf: results === undefined ? conf : { ...conf, prevResult: results[lane] },
          takesResult: verb === "ADD" && at > 0,
        };
      }),
    );
    return this.#request({ lanes, memory });
  }

  #env(verb: string, id: string, netns: string, ifname: string): Record<string, string> {
    return {
      PATH: pathOf(this.#scenario.backend),
      XTABLES_LOCKFILE: "/run/xtables.lock",
      CNI_COMMAND: verb,
      // As long as a real container's id.
      CNI_CONTAINERID: id.padStart(64, "c"),
      CNI_NETNS: netns,
      CNI_IFNAME: ifname,
      CNI_PATH: this.#bin,
    };
  }

  async #fill(): Promise<void> {
    const { pods, reservations } = this.#scenario;
    if (reservations > 0) {
      await this.#sandbox.sh(`
        cd /run && mkdir -p /var/lib/cni/networks/cbr0 && cd /var/lib/cni/networks/cbr0
        seq 0 ${reservations - 1} | awk '{
          file = sprintf("10.244.%d.%d", 1 + $1 / 250, 2 + $1 % 250)
          printf "%064d\\r\\neth0", $1 > file
          close(file)
        }'`);
    }
    if (pods === 0) return;
    await this.#sandbox.addPod(crowd);
    for (let first = 0; first < pods; first += crowdAtOnce) {
      const numbers = Array.from({ length: Math.min(crowdAtOnce, pods - first) }, (_, at) => at);
      const lanes = numbers.map((at): Call[] => this.#crowdCalls(first + at));
      await this.#request({ lanes, memory: false });
    }
  }

  #crowdCalls(number: number): Call[] {
    const env = this.#env("ADD", `crowd-${number}`, `/run/netns/${crowd}`, `eth${number}`);
    // Host ports above those of the pods that are measured.
    const lane = 100 + number;
    const confs: readonly (readonly [Plugin, Conf])[] = [
      ["bridge", crowdConf(this.#scenario)],
      ["portmap", confOf("portmap", this.#scenario, lane)],
    ];
    return confs.map(([plugin, conf], at) => ({
      file: join(this.#bin, plugin),
      env,
      conf,
      takesResult: at > 0,
    }));
  }

  async #request(request: Request): Promise<Reply> {
    const reply = JSON.parse(await this.#worker.ask(JSON.stringify(request))) as
      | Reply
      | { readonly error: string };
    if ("error" in reply) throw new Error(reply.error);
    return reply;
  }
}

function pathOf(backend: Backend): string {
  return backend === "iptables-legacy" ? `${legacyTools}:${systemPath}` : systemPath;
}
