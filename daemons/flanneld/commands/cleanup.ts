import { Failure, messageOf } from "../../../shared/base/failure.ts";
import { askStatus } from "../../../shared/daemon/status_socket.ts";
import { removeIfPresent } from "../../../shared/files/files.ts";
import { readIfPresent } from "../../../shared/files/read_file.ts";
import {
  backendsFile,
  dockerOptsFile,
  flannelDockerFile,
  statusSocket,
} from "../../../shared/files/paths.ts";
import { AsyncFirewall } from "../../../shared/firewall/async_firewall.ts";
import type { SubnetEnv } from "../../../shared/flannel/subnet_env.ts";
import type { Family } from "../../../shared/net/address.ts";
import { isWithin } from "../../../shared/net/subnets.ts";
import type { OverlayChange } from "../../../shared/netlink/overlay_change.ts";
import { describeOverlay } from "../../../shared/netlink/overlay_change.ts";
import type { TableRoute } from "../../../shared/netlink/route.ts";
import { RouteProtocol } from "../../../shared/netlink/route.ts";
import type { LastingSys } from "../../../shared/runtime/sys.ts";
import { isFlannels as isFlannelsDevice } from "../device_plan.ts";
import { flannelProtocol } from "../node_routes.ts";
import { batchSize, OverlayKernel } from "../overlay_kernel.ts";
import type { Options } from "../options.ts";
import { readEarlier } from "../own_node.ts";
import { isOldRule } from "../traffic/old_rules.ts";
import { allPlaces, nameOf, removeRules } from "../traffic/removal.ts";
import { RuleWatch } from "../traffic/watch.ts";
import type { RulePlace } from "../traffic/watch.ts";
import { runningFlannelds } from "./running.ts";

/**
 * flanneld cleanup: removes everything that this flanneld or the Go program has made on this node:
 * devices, routes, rules, files. Pods lose their network. What cannot be removed delays nothing
 * else; subnet.env, which names the network that the rest is found by, then stays for the next time.
 * @returns the exit status: 0 if nothing is left.
 */
export async function cleanup(
  sys: LastingSys,
  { subnetFile, wireguardKeyFile }: Pick<Options, "subnetFile" | "wireguardKeyFile">,
  words: readonly string[],
): Promise<number> {
  const refusal = await refusalOf(subnetFile, words);
  if (refusal !== undefined) {
    sys.write(2, `${refusal}\n`);
    return 1;
  }
  const run = new Cleanup(sys, readEarlier(subnetFile));
  await run.removeFromKernel();
  await run.removeFromFirewall();
  const files = [
    ...[`${subnetFile}.lease`, backendsFile(subnetFile)],
    ...[statusSocket(subnetFile), wireguardKeyFile],
  ];
  for (const path of files) await run.removeFile(path);
  for (const path of [flannelDockerFile, dockerOptsFile]) await run.removeDockerFile(path);
  if (run.problems.length === 0) await run.removeFile(subnetFile);
  for (const problem of run.problems) sys.write(2, `${problem}\n`);
  return run.problems.length === 0 ? 0 : 1;
}

/** Why nothing is to be removed now. */
async function refusalOf(
  subnetFile: string,
  words: readonly string[],
): Promise<string | undefined> {
  const unknown = words.find((word) => !isForce(word));
  if (unknown !== undefined) {
    return `Cannot clean up: cleanup takes --force and no other word (got ${JSON.stringify(unknown)}).`;
  }
  if ((await askStatus(statusSocket(subnetFile))) !== undefined) {
    return "Cannot clean up: flanneld runs on this node and would make it all again. Stop it first.";
  }
  const running = runningFlannelds();
  if (running.length === 0 || words.some(isForce)) return undefined;
  return `Cannot clean up: a flanneld runs on this node (pid ${running.join(", ")}) and would make it all again. Stop it first. If that process is something else, run flanneld cleanup --force.`;
}

function isForce(word: string): boolean {
  return word === "--force" || word === "-force";
}

/** Each part is tried, whatever becomes of the others. */
class Cleanup {
  readonly problems: string[] = [];
  readonly #sys: LastingSys;
  readonly #env: SubnetEnv | undefined;

  constructor(sys: LastingSys, env: SubnetEnv | undefined) {
    this.#sys = sys;
    this.#env = env;
  }

  async removeFromKernel(): Promise<void> {
    await this.#try(async () => {
      const kernel = new OverlayKernel(this.#sys);
      try {
        await this.#try(async () => {
          this.#removeDevices(kernel);
        });
        for (const family of [4, 6] as const) {
          await this.#try(async () => {
            this.#removeRoutes(kernel, family);
          });
        }
      } finally {
        kernel.close();
      }
    });
  }

  /** Routes through a device go with it. */
  #removeDevices(kernel: OverlayKernel): void {
    const devices = kernel.links().filter(({ name, kind }) => isFlannelsDevice(name, kind));
    this.#execute(
      kernel,
      devices.map(({ index, name }) => ({ kind: "delete-device", index, link: name })),
    );
  }

  #removeRoutes(kernel: OverlayKernel, family: Family): void {
    const routes = kernel.routes(family).filter((route) => isFlannels(route, this.#env));
    this.#execute(
      kernel,
      routes.map((route) => ({ kind: "delete-route", route })),
    );
  }

  #execute(kernel: OverlayKernel, changes: readonly OverlayChange[]): void {
    for (let at = 0; at < changes.length; at += batchSize) {
      const batch = changes.slice(at, at + batchSize);
      for (const [index, { errno, problem }] of kernel.execute(batch).entries()) {
        const change = batch[index];
        if (errno !== 0) this.problems.push(problem);
        else if (change !== undefined) this.#say(`Done: ${describeOverlay(change)}.`);
      }
    }
  }

  async removeFromFirewall(): Promise<void> {
    const firewall = new AsyncFirewall(this.#sys);
    const watch = new RuleWatch(this.#sys);
    try {
      for (const place of allPlaces) {
        await this.#try(async () => this.#removeFromPlace(firewall, watch, place));
      }
    } finally {
      watch.close();
    }
  }

  async #removeFromPlace(
    firewall: AsyncFirewall,
    watch: RuleWatch,
    place: RulePlace,
  ): Promise<void> {
    if (!watch.isThere(place) && !watch.hasBuiltInRules(place)) return;
    const networks = (this.#env?.networks ?? []).filter(
      ({ address }) => address.family === place.family,
    );
    const isAny = await removeRules(firewall, place, (rule) => isOldRule(rule, networks));
    if (isAny) this.#say(`Removed the IPv${place.family} rules in ${nameOf(place)}.`);
  }

  async removeFile(path: string): Promise<void> {
    await this.#try(async () => {
      try {
        if (removeIfPresent(path)) this.#say(`Removed ${path}.`);
      } catch (cause) {
        throw fileFailure(path, cause);
      }
    });
  }

  /** Removes what mk-docker-opts.sh has written, and not another program's file of that name. */
  async removeDockerFile(path: string): Promise<void> {
    await this.#try(async () => {
      let text: string | undefined;
      try {
        text = readIfPresent(path);
      } catch (cause) {
        throw fileFailure(path, cause);
      }
      if (text !== undefined && /="? ?--(?:bip|ip-masq|mtu)=/.test(text)) {
        await this.removeFile(path);
      }
    });
  }

  #say(text: string): void {
    this.#sys.write(1, `${text}\n`);
  }

  async #try(part: () => Promise<void>): Promise<void> {
    try {
      await part();
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      this.problems.push(`${error.message} ${error.advice}`);
    }
  }
}

function fileFailure(path: string, cause: unknown): Failure {
  return new Failure(
    "io",
    `Cannot remove ${path}: ${messageOf(cause)}.`,
    "Remove it by hand, and run flanneld cleanup again.",
    { cause },
  );
}

/**
 * By its protocol number, or as the Go program makes them: to another node or blackhole, within the
 * network that subnet.env names.
 */
function isFlannels(
  { dst, protocol, gateway, type }: TableRoute,
  env: SubnetEnv | undefined,
): boolean {
  if (protocol === flannelProtocol) return true;
  const isInside = env?.networks.some((network) => isWithin(dst, network)) === true;
  return (
    protocol === RouteProtocol.boot && isInside && (gateway !== undefined || type === "blackhole")
  );
}
