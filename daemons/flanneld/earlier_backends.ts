import { Failure, messageOf } from "../../shared/base/failure.ts";
import { isJsonObject } from "../../shared/base/json.ts";
import type { Json, JsonObject } from "../../shared/base/json.ts";
import type { Log } from "../../shared/daemon/log.ts";
import type { Lease } from "../../shared/flannel/lease.ts";
import type { NetConf } from "../../shared/flannel/net_conf.ts";
import type { LastingSys } from "../../shared/runtime/sys.ts";
import type { Backend, ExternalInterface } from "./backends/backend.ts";
import { backendOf } from "./backends/choose.ts";
import { readBackends, writeBackends } from "./backends_file.ts";
import { keysIn } from "./wireguard/key_file.ts";
import { choosePeerKeeper } from "./choose_peer_keeper.ts";
import type { EarlierLease } from "./leases/lease_manager.ts";
import type { KeptPeers, PeerKeeper } from "./peer_keeper.ts";

/**
 * Milliseconds that a backend stays after the last peer has left it: other peers, which hear of that later,
 * still send by it.
 */
const grace = 10_000;

interface EarlierBackend {
  readonly json: JsonObject;
  readonly backend: Backend;
  readonly keeper: PeerKeeper | undefined;
  /** Runs while no peer has it. */
  timer: ReturnType<typeof setTimeout> | undefined;
}

export interface EarlierBackendsOptions {
  readonly sys: LastingSys;
  readonly log: Log;
  readonly conf: NetConf;
  /** Of the file that remembers them. */
  readonly path: string;
  readonly wireguardKeyFile: string;
  /** What this node has published before. */
  readonly earlier: EarlierLease | undefined;
  /** Called when one of them has ended. */
  readonly onEnd: () => void;
}

/**
 * The backends that this node had before net-conf.json named another one, each for as long as a peer has it.
 */
export class EarlierBackends {
  /** For the backend of now, which reaches peers by them; becomes fewer. */
  readonly backends: Backend[] = [];
  readonly #options: EarlierBackendsOptions;
  #all: readonly EarlierBackend[] = [];

  private constructor(options: EarlierBackendsOptions) {
    this.#options = options;
  }

  /** Finds them, and remembers them and the one of now. @throws Failure io */
  static async find(options: EarlierBackendsOptions): Promise<EarlierBackends> {
    const made = new EarlierBackends(options);
    const { conf, path, earlier } = options;
    const stored = readBackends(path);
    const known = stored.length > 0 ? stored : publishedBackend(earlier);
    const taken = new Set([backendOf(conf, {}).type]);
    const all: EarlierBackend[] = [];
    for (const json of known) {
      const found = await made.#make(json);
      // Peers tell backends apart by what they publish.
      if (found === undefined || taken.has(found.backend.type)) continue;
      taken.add(found.backend.type);
      all.push(found);
    }
    made.#all = all;
    made.backends.push(...all.map(({ backend }) => backend));
    made.#remember();
    for (const { backend } of all) {
      options.log.info(`Peers that still have the backend ${nameOf(backend)} are reached by it.`);
    }
    return made;
  }

  /** The Backend object that has the options of a type, that of now or one of before. */
  optionsOf(type: string): JsonObject {
    const { conf } = this.#options;
    if (conf.backendType === type) return conf.backend;
    return this.#all.find(({ json }) => json["Type"] === type)?.json ?? conf.backend;
  }

  /** Whether peers that publish a type are reached by one of them. */
  has(backendType: string): boolean {
    return this.backends.some(({ type }) => type === backendType);
  }

  /** Makes a device that netlink cannot make; undefined if none of them has one. */
  get createDevice(): ((name: string) => void) | undefined {
    return this.#keepers.find(({ createDevice }) => createDevice !== undefined)?.createDevice;
  }

  get statuses(): readonly KeptPeers[] {
    return this.#keepers.map(({ status }) => status);
  }

  /** Makes ready for this node's lease. What fails is told, and holds nothing up. */
  async follow(lease: Lease, external: ExternalInterface): Promise<void> {
    for (const keeper of this.#keepers) {
      try {
        await keeper.follow(lease, external);
      } catch (error) {
        if (!(error instanceof Failure)) throw error;
        this.#options.log.warn(`${messageOf(error)} ${error.advice}`);
      }
    }
  }

  setPeers(leases: readonly Lease[], isComplete: boolean): void {
    for (const keeper of this.#keepers) keeper.setPeers(leases, isComplete);
  }

  /** Notices what backends peers have. */
  notice(leases: ReadonlyMap<string, Lease>, isComplete: boolean): void {
    if (this.#all.length === 0) return;
    const types = new Set([...leases.values()].map(({ attributes }) => attributes.backendType));
    for (const earlier of this.#all) {
      if (isComplete && !types.has(earlier.backend.type)) {
        earlier.timer ??= setTimeout(() => {
          this.#end(earlier);
        }, grace);
        continue;
      }
      clearTimeout(earlier.timer);
      earlier.timer = undefined;
    }
  }

  close(): void {
    for (const { timer, keeper } of this.#all) {
      clearTimeout(timer);
      keeper?.close();
    }
  }

  get #keepers(): readonly PeerKeeper[] {
    return this.#all.flatMap(({ keeper }) => keeper ?? []);
  }

  async #make(json: JsonObject): Promise<EarlierBackend | undefined> {
    const { sys, log, conf, wireguardKeyFile } = this.#options;
    const { Type: type } = json;
    if (typeof type !== "string") return undefined;
    // The node has been made ready for its lease already.
    const backend = { ...json, PreStartupCommand: null, PostStartupCommand: null };
    try {
      const earlier = { ...conf, backendType: type, backend };
      // Peers know the node by its key.
      const keys = type === "wireguard" ? await keysIn(wireguardKeyFile) : undefined;
      if (type === "wireguard" && keys === undefined) return undefined;
      return {
        ...{ json, backend: backendOf(earlier, { keys }), timer: undefined },
        keeper: await choosePeerKeeper(sys, log, earlier, () => {}),
      };
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      log.warn(
        `Peers that still have the backend ${type} are not reached by it: ${messageOf(error)}`,
      );
      return undefined;
    }
  }

  #end(earlier: EarlierBackend): void {
    const { log, onEnd } = this.#options;
    earlier.keeper?.close();
    this.#all = this.#all.filter((known) => known !== earlier);
    this.backends.splice(this.backends.indexOf(earlier.backend), 1);
    log.info(`No peer has the backend ${nameOf(earlier.backend)} any more.`);
    try {
      this.#remember();
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      log.warn(`${messageOf(error)} ${error.advice}`);
    }
    onEnd();
  }

  #remember(): void {
    const { path, conf } = this.#options;
    const own: JsonObject = { ...conf.backend, Type: conf.backendType };
    writeBackends(path, [own, ...this.#all.map(({ json }) => json)]);
  }
}

/** udp publishes no type. */
function nameOf({ type }: Backend): string {
  return type === "" ? "udp" : type;
}

/**
 * The backend that a node which remembers none has had, such as one that has rebooted, as far as it has
 * published that.
 */
function publishedBackend(earlier: EarlierLease | undefined): readonly JsonObject[] {
  const { backendType: type = "" } = earlier ?? {};
  if (type === "" || type === "extension") return [];
  const data: Json | undefined = earlier?.backendData ?? earlier?.backendV6Data;
  const { VNI: vni, Port: port } = isJsonObject(data) ? data : {};
  return [
    {
      Type: type,
      ...(vni === undefined ? {} : { VNI: vni }),
      ...(port === undefined ? {} : { ListenPort: port }),
    },
  ];
}
