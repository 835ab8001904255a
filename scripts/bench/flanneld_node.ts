/** A node with one flanneld, ours or the Go program: starts it, and reads what the kernel says of it. */
import { spawn } from "node:child_process";
import { existsSync, readFileSync, statSync } from "node:fs";
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";
import { startOtherFlanneld, type Daemon } from "../../test/helpers/flanneld.ts";
import type { FabricNode } from "../../test/lab/fabric.ts";
import { pathOf } from "../../test/lab/requirements.ts";
import type { LeaseSource } from "./flanneld_leases.ts";

/** Milliseconds after which a start has failed. */
const patience = 60_000;
/** Of a tick of the kernel's process times. */
const tick = 10;
const subnetFile = "run/flannel/subnet.env";

/** Milliseconds from exec. */
export interface Start {
  readonly file: number;
  /** Until the kernel has a route to each peer. */
  readonly routes: number;
}

export interface Memory {
  /** MiB. */
  readonly anonymous: number;
  readonly all: number;
}

export class FlanneldNode {
  readonly node: FabricNode;
  readonly #program: string;
  readonly #source: LeaseSource;
  #daemon: Daemon | undefined;

  constructor(node: FabricNode, program: string, source: LeaseSource) {
    this.node = node;
    this.#program = program;
    this.#source = source;
  }

  /** Starts it on a node where none has been. */
  async start(peers: number): Promise<Start> {
    await this.node.sandbox.sh(`
      ip link delete flannel.1 2> /dev/null || true
      rm -rf /run/flannel
      iptables -t nat -F; iptables -t nat -X; iptables -F; iptables -X
    `);
    await this.#source.renew(this.node);
    const args = [...this.#source.args, "-iface=eth0", "-ip-masq"];
    // The shell tells the time, and becomes the program.
    const shell = ["-c", 'echo "$EPOCHREALTIME"; exec "$0" "$@"', this.#program, ...args];
    const env = { NODE_NAME: this.node.name };
    const daemon = startOtherFlanneld(this.node.sandbox, "/bin/bash", shell, env);
    this.#daemon = daemon;
    const file = `/proc/${this.node.sandbox.pid}/root/${subnetFile}`;
    await this.#until("subnet.env", 5, () => existsSync(file));
    await this.#until("routes", peers > 100 ? 20 : 2, () => this.#routes() >= peers);
    const routes = now();
    const began = Number(/^[\d.]+/.exec(daemon.log())?.[0]) * 1000;
    // The name comes last, so this is when it was written.
    return { file: statSync(file).mtimeMs - began, routes: routes - began };
  }

  /** Kills it: told to end right after its start, the Go program may stay for ever. */
  async stop(): Promise<void> {
    const daemon = this.#daemon;
    this.#daemon = undefined;
    await daemon?.end("SIGKILL");
  }

  /** Milliseconds from a new peer to its route, for each of some. */
  async follow(numbers: readonly number[]): Promise<readonly number[]> {
    const ip = pathOf("ip") ?? "ip";
    const enter = ["-t", String(this.node.sandbox.pid), "-n", "--", ip, "-ts", "monitor", "route"];
    const monitor = spawn(pathOf("nsenter") ?? "nsenter", enter, {
      stdio: ["ignore", "pipe", "ignore"],
    });
    const seen = new Map<string, number>();
    createInterface(monitor.stdout).on("line", (line) => {
      const [, time = "", route = ""] = /^\[([^\]]+)\] (10\.250\.\S+) via/.exec(line) ?? [];
      if (route !== "" && !seen.has(route)) seen.set(route, timeOf(time));
    });
    try {
      await delay(500);
      const times: number[] = [];
      for (const number of numbers) {
        const began = await this.#source.addPeer(number);
        const route = `10.250.${number}.0/24`;
        await this.#until(`the route ${route}`, 5, () => seen.has(route));
        times.push((seen.get(route) ?? Number.NaN) - began);
        await delay(100);
      }
      for (const number of numbers) await this.#source.removePeer(number);
      return times;
    } finally {
      monitor.kill();
    }
  }

  /** Percent of a core, its children's work included, while something goes on. */
  async load(action: () => Promise<unknown>): Promise<number> {
    const [before, began] = [this.#processorTime(), now()];
    await action();
    return ((this.#processorTime() - before) / (now() - began)) * 100;
  }

  memory(): Memory {
    const text = readFileSync(`/proc/${this.#pid}/status`, "utf8");
    const read = (key: string) => Number(new RegExp(`${key}:\\s+(\\d+)`).exec(text)?.[1]) / 1024;
    return { anonymous: read("RssAnon"), all: read("VmRSS") };
  }

  get #pid(): number {
    if (this.#daemon === undefined) throw new Error("flanneld has not been started");
    return this.#daemon.pid();
  }

  /**
   * Milliseconds, by ticks, into which the kernel turns the scheduler's exact count: of all threads, those
   * that have ended included, and of children that have ended.
   */
  #processorTime(): number {
    const stat = readFileSync(`/proc/${this.#pid}/stat`, "utf8");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    const [user = 0, system = 0, childrenUser = 0, childrenSystem = 0] = fields
      .slice(11, 15)
      .map(Number);
    return (user + system + childrenUser + childrenSystem) * tick;
  }

  #routes(): number {
    const text = readFileSync(`/proc/${this.node.sandbox.pid}/net/route`, "utf8");
    return text.split("\nflannel.1\t").length - 1;
  }

  async #until(what: string, pause: number, check: () => boolean): Promise<void> {
    const end = performance.now() + patience;
    while (!check()) {
      if (performance.now() > end) {
        throw new Error(`${this.#program} has not made ${what}:\n${this.#daemon?.log() ?? ""}`);
      }
      await delay(pause);
    }
  }
}

/** Milliseconds since the epoch, with fractions. */
function now(): number {
  return performance.timeOrigin + performance.now();
}

/** Of a time of ip's, which is local and has microseconds. */
function timeOf(text: string): number {
  const [seconds = "", fraction = "0"] = text.split(".");
  return Date.parse(seconds) + Number(`0.${fraction}`) * 1000;
}
