/**
 * Pods of one network come and go while GCs and repairs run, calls are killed at random moments, and the
 * firewall's tools are slow.
 */
import type { CniJson, Sandbox } from "../helpers/cni.ts";
import { addressesIn } from "../helpers/network.ts";
import type { Backend } from "../helpers/portmap.ts";
import { generator } from "./random.ts";
import {
  BIN,
  createStressNode,
  expectChecked,
  expectExactly,
  flushOf,
  NETWORK,
  portMappings,
  waitForOrphans,
  type Env,
  type Pod,
} from "./stress_node.ts";

/** What is done to the calls. */
export interface Strain {
  readonly backend: Backend;
  /** Whether calls are killed at random moments, or the plugins under them. */
  readonly kills: boolean;
  /** Whether another program flushes the node's rules all the time. */
  readonly flushes: boolean;
}

/** A pod that nobody touches. */
const NEIGHBOUR = "neighbour";
const SIGKILLED = 128 + 9;
/** How many pods to come a GC is told of: a runtime lists those that it is about to add. */
const LOOKAHEAD = 30;
const SECONDS = { slow: 0.1, killed: 0.2 };

/** A node under stress. */
export class Stress {
  readonly node: Sandbox;
  readonly tally = { adds: 0, gcs: 0, repairs: 0, checks: 0, flushes: 0, killed: 0, failed: 0 };
  readonly #strain: Strain;
  readonly #env: Env;
  readonly #random: () => number;
  /** Whether calls may fail because others are killed. */
  #mayFail: boolean;
  /** The pods that are there, from the end of ADD to the start of DEL. */
  readonly #pods = new Map<string, Pod>();
  /** The pods whose DEL has begun and not ended. */
  readonly #leaving = new Set<string>();
  /** How many pods each place has had. */
  readonly #generations: number[] = [];

  private constructor(node: Sandbox, env: Env, strain: Strain, seed: number) {
    this.node = node;
    this.#strain = strain;
    this.#env = env;
    this.#mayFail = strain.kills;
    this.#random = generator(seed);
  }

  static async create(strain: Strain, seed: number): Promise<Stress> {
    const { node, env } = await createStressNode(strain.backend);
    return new Stress(node, env, strain, seed);
  }

  /** Adds the neighbour. */
  async begin(): Promise<void> {
    await this.node.addPod(NEIGHBOUR);
    const isAdded = await this.#add({ id: NEIGHBOUR, hostPort: 8000 }, {});
    if (!isAdded) throw new Error("Nothing disturbs the neighbour's ADD, and it has failed.");
  }

  /** @param lives how many pods each place has, one after another; the last ones stay. */
  async run(places: number, lives: number): Promise<void> {
    this.#generations.push(...Array.from({ length: places }, () => 1));
    const over = new AbortController();
    /** Runs to the end, or until one of the others fails. */
    const job = async (action: () => Promise<void>): Promise<void> => {
      try {
        await action();
      } catch (error) {
        over.abort();
        throw error;
      }
    };
    const repeat = async (action: () => Promise<void>): Promise<void> =>
      job(async () => {
        while (!over.signal.aborted) await action();
      });
    const maintenance = [
      repeat(async () => this.#gc(this.#listed(), this.#disturbance())),
      repeat(async () => this.#repair(this.#disturbance())),
      repeat(async () => (this.#strain.flushes ? this.#flush() : this.#checkNeighbour())),
    ];
    const pods = Array.from({ length: places }, async (_, place) =>
      job(async () => {
        for (let left = lives; left > 0 && !over.signal.aborted; left--) {
          await this.#live(place, left === 1);
        }
      }),
    );
    const all = Promise.allSettled([...pods, ...maintenance]);
    await Promise.allSettled(pods);
    over.abort();
    await all;
    await Promise.all([...pods, ...maintenance]);
  }

  /** Waits for what killed calls have started, and collects what they have left. */
  async settle(): Promise<void> {
    await waitForOrphans(this.node);
    this.#mayFail = false;
    if (this.#strain.flushes) await this.#repair({});
    if (this.#strain.kills) await this.#gc([...this.#pods.keys()], {});
  }

  async expectExactly(): Promise<void> {
    const { backend } = this.#strain;
    await expectExactly(this.node, { ...backend, env: this.#env }, [...this.#pods.values()]);
  }

  /** Deletes all pods. */
  async end(): Promise<void> {
    for (const id of this.#pods.keys()) {
      await this.#del(id, {});
      await this.node.removePod(id);
    }
    await this.#gc([], {});
  }

  async #live(place: number, stays: boolean): Promise<void> {
    const generation = this.#generations[place] ?? 0;
    const id = idOf(place, generation);
    await this.node.addPod(id);
    const isAdded = await this.#add({ id, hostPort: 8001 + place }, this.#disturbance());
    if (isAdded && stays) return;
    this.#leaving.add(id);
    // A runtime repeats a DEL that has failed.
    while (!(await this.#del(id, this.#disturbance())));
    await this.node.removePod(id);
    this.#generations[place] = generation + 1;
    this.#leaving.delete(id);
  }

  /** @returns whether it has succeeded. */
  async #add(pod: Omit<Pod, "result">, env: Env): Promise<boolean> {
    const { id } = pod;
    const capabilities = { CAP_ARGS: JSON.stringify({ portMappings: portMappings(pod) }) };
    const answer = await this.#call(attachment("add", id), { ...capabilities, ...env });
    if (answer === undefined) return false;
    const result = JSON.parse(answer) as CniJson;
    for (const address of addressesIn(result)) {
      const owners = [...this.#pods.values()].filter((candidate) =>
        addressesIn(candidate.result).includes(address),
      );
      if (owners.length > 0) throw new Error(`${address} of ${id} is ${owners[0]?.id}'s as well`);
    }
    this.#pods.set(id, { ...pod, result });
    this.tally.adds++;
    return true;
  }

  /** @returns whether it has succeeded. */
  async #del(id: string, env: Env): Promise<boolean> {
    this.#pods.delete(id);
    return (await this.#call(attachment("del", id), env)) !== undefined;
  }

  async #gc(valid: readonly string[], env: Env): Promise<void> {
    const list = valid.flatMap((id) => ["--valid", `${id}/eth0`]);
    await this.#call(["gc", NETWORK, "--valid-file", "/dev/null", ...list], env);
    this.tally.gcs++;
  }

  /** The pods that are there, those that come, and some of those that leave. */
  #listed(): readonly string[] {
    const ids = this.#generations.flatMap((generation, place) =>
      Array.from({ length: LOOKAHEAD }, (_, n) => idOf(place, generation + n)),
    );
    return [NEIGHBOUR, ...ids.filter((id) => !this.#leaving.has(id) || this.#random() < 0.5)];
  }

  async #repair(env: Env): Promise<void> {
    await this.#call(["repair"], env);
    this.tally.repairs++;
  }

  async #flush(): Promise<void> {
    await this.node.sh(`${flushOf(this.#strain.backend)}; sleep 0.1`);
    this.tally.flushes++;
  }

  async #checkNeighbour(): Promise<void> {
    const neighbour = this.#pods.get(NEIGHBOUR);
    if (neighbour !== undefined) await expectChecked(this.node, this.#strain.backend, neighbour);
    this.tally.checks++;
  }

  /** @returns cnitool's output; undefined if it was killed, or has failed because a plugin was. */
  async #call(args: readonly string[], { KILL_CALL, ...more }: Env): Promise<string | undefined> {
    const tool = `${BIN}/cnitool`;
    const env = { ...this.#env, ...more };
    const scope = (more["KILL_SCOPE"] ?? "").split(" ").filter(Boolean);
    const { exitCode, stdout, stderr } =
      KILL_CALL === undefined
        ? await this.node.exec(tool, args, { env })
        : await this.node.exec("timeout", [...scope, "-s", "KILL", KILL_CALL, tool, ...args], {
            env,
          });
    if (exitCode === 0) return stdout;
    if (!this.#mayFail) throw new Error(`cnitool ${args.slice(0, 5).join(" ")}: ${stderr}`);
    if (exitCode === SIGKILLED) this.tally.killed++;
    else this.tally.failed++;
    return undefined;
  }

  /** By chance, an environment that kills a call and slows the firewall's tools. */
  #disturbance(): Env {
    const upTo = (seconds: number): string => (this.#random() * seconds).toFixed(3);
    const slow = this.#random() < 0.5 ? { SLOW: upTo(SECONDS.slow) } : {};
    if (!this.#strain.kills || this.#random() < 0.6) return slow;
    // Alone, or with what it has started.
    const scope = { KILL_SCOPE: this.#random() < 0.5 ? "--foreground" : "" };
    const victim = ["cnitool", "flannel", "portmap"][Math.floor(this.#random() * 3)] ?? "";
    const after = upTo(SECONDS.killed);
    return victim === "cnitool"
      ? { ...slow, ...scope, KILL_CALL: after }
      : { ...slow, ...scope, KILLED: victim, KILL_AFTER: after };
  }
}

function idOf(place: number, generation: number): string {
  return `pod${place}-${generation}`;
}

function attachment(command: "add" | "del", id: string): readonly string[] {
  return [command, "--container-id", id, NETWORK, `/run/netns/${id}`];
}
