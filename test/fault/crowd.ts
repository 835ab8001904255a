/** Many pods come and go on one node at once, and calls are killed at random. */
import { setTimeout } from "node:timers/promises";
import { cni, type CniAnswer, type CniJson, type Sandbox } from "../helpers/cni.ts";
import { addressesIn } from "../helpers/network.ts";
import { IPTABLES_NFT } from "../helpers/portmap.ts";
import { generator } from "./random.ts";
import { callOf, runChain, type PodCall, type Scenario } from "./scenarios.ts";

/** The share of calls to kill, chosen by a seeded generator. */
const killed = 0.1;
const SIGKILLED = 128 + 9;
/** timeout(1): the call ended by itself when its time was over. */
const TIMED_OUT = 124;

export const tally = { pods: 0, kills: 0, refused: 0, duplicates: 0 };
const chain: Scenario = {
  name: "crowd",
  backend: IPTABLES_NFT,
  plugins: [
    { type: "flannel", delegate: { isDefaultGateway: true, hairpinMode: true } },
    { type: "portmap" },
  ],
  at: 0,
};

/** Runs a job for each number, at most `width` at the same time. */
export async function crowd(count: number, width: number, job: (n: number) => Promise<void>) {
  let next = 0;
  const worker = async (): Promise<void> => {
    for (let n = next++; n < count; n = next++) await job(n);
  };
  await Promise.all(Array.from({ length: width }, worker));
}

/** Pods on one node, and which of them has which address. */
export class Crowd {
  readonly #node: Sandbox;
  readonly #random: () => number;
  /** Address → pod, from the end of the pod's ADD to the start of its DEL. */
  readonly #owners = new Map<string, string>();

  constructor(node: Sandbox, seed: number) {
    this.#node = node;
    this.#random = generator(seed);
  }

  async live(n: number): Promise<void> {
    const pod = { id: `pod${n}`, ports: n };
    await this.#node.output("ip", ["netns", "add", pod.id]);
    const added = await this.#call("ADD", pod);
    tally.pods++;
    const own = added === undefined ? [] : addressesIn(added);
    for (const address of own) {
      const owner = this.#owners.get(address);
      if (owner !== undefined) tally.duplicates++;
      if (owner !== undefined) throw new Error(`${address} of ${owner} is ${pod.id}'s as well`);
      this.#owners.set(address, pod.id);
    }
    await setTimeout(this.#random() * 20);
    for (const address of own) this.#owners.delete(address);
    // A killed DEL is repeated.
    for (let done: CniJson | undefined; done === undefined; ) done = await this.#call("DEL", pod);
    await this.#node.output("ip", ["netns", "delete", pod.id]);
  }

  /** @returns the result, or undefined if the call was killed. */
  async #call(command: "ADD" | "DEL", pod: PodCall): Promise<CniJson | undefined> {
    if (this.#random() >= killed) {
      const answer = await runChain(this.#node, chain, command, pod);
      // Under such a load a call may wait for a lock in vain, which is code 11.
      if (command === "ADD" && answer.json?.code === 11) {
        tally.refused++;
        return undefined;
      }
      expectSuccess(command, answer);
      return answer.json ?? {};
    }
    const at = command === "ADD" ? 0 : Math.floor(this.#random() * 2);
    const ms = Math.floor(this.#random() * 20);
    const prefix = ["timeout", "--foreground", "-s", "KILL", `0.0${String(ms).padStart(2, "0")}1`];
    const answer = await cni(this.#node, { ...callOf(chain, at, command, pod), prefix });
    if (answer.code === SIGKILLED) tally.kills++;
    else if (answer.code !== TIMED_OUT) expectSuccess(command, answer);
    return undefined;
  }
}

function expectSuccess(command: string, { code, stdout, stderr }: CniAnswer): void {
  if (code !== 0) throw new Error(`${command} ended with ${code}: ${stdout} ${stderr}`);
}
