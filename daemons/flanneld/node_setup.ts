import type { NetConf } from "../../shared/flannel/net_conf.ts";
import { backendsFile } from "../../shared/files/paths.ts";
import { randomMac } from "../../shared/node/random.ts";
import type { Backend, DeviceMacs, ExternalInterface } from "./backends/backend.ts";
import { chooseBackend } from "./backends/choose.ts";
import { chooseMacs, readVxlanOptions } from "./backends/vxlan.ts";
import { checkBridgeFilter } from "./bridge_filter.ts";
import { choosePeerKeeper } from "./choose_peer_keeper.ts";
import { untilAborted, untilStep } from "./daemon_context.ts";
import type { DaemonContext } from "./daemon_context.ts";
import { EarlierBackends } from "./earlier_backends.ts";
import type { NodeSettings } from "./leases/lease_manager.ts";
import { OverlayKernel } from "./overlay_kernel.ts";
import { chooseExternal } from "./own_node.ts";
import type { PeerKeeper } from "./peer_keeper.ts";
import { keepKeys } from "./wireguard/key_file.ts";

/** What is decided at the start and stays, but for the interface. */
export interface NodeSetup {
  readonly conf: NetConf;
  readonly settings: NodeSettings;
  /** That which led to the other nodes at the start. */
  readonly external: ExternalInterface;
  readonly backend: Backend;
  readonly macs: DeviceMacs;
  readonly kernel: OverlayKernel;
  readonly keeper: PeerKeeper | undefined;
  /** What some peers may still have. */
  readonly earlierBackends: EarlierBackends;
}

export interface SetupListener {
  /** The keeper has tried to reach all peers that it has been told of. */
  readonly onTried: () => void;
  /** No peer has one of the earlier backends any more. */
  readonly onBackendEnd: () => void;
}

/** Decides how this node is connected; waits for what that needs. @throws the signal's reason */
export async function setUpNode(
  daemon: DaemonContext,
  { onTried, onBackendEnd }: SetupListener,
): Promise<NodeSetup> {
  const { sys, options, log, manager, signal } = daemon;
  const [conf, keeper] = await configure(daemon, onTried);
  void untilAborted(signal, async () =>
    untilStep(daemon, "bridge", async () => {
      checkBridgeFilter(conf);
    }),
  );
  const settings = await manager.settings(signal);
  const external = await untilStep(daemon, "interface", async () =>
    chooseExternal(sys, options.interface, settings, conf),
  );
  log.info(`The interface to the other nodes is ${external.name}.`);
  const published = await manager.earlier(external.publicIp, signal);
  const earlierBackends = await untilStep(daemon, "file", async () =>
    EarlierBackends.find({
      ...{ sys, log, conf, earlier: published, onEnd: onBackendEnd },
      path: backendsFile(options.subnetFile),
      wireguardKeyFile: options.wireguardKeyFile,
    }),
  );
  daemon.opened.push(earlierBackends);
  const kernel = await untilStep(
    daemon,
    "interface",
    async () => new OverlayKernel(sys, keeper?.createDevice ?? earlierBackends.createDevice),
  );
  const macs = await untilStep(daemon, "interface", async () =>
    chooseMacs(
      readVxlanOptions(earlierBackends.optionsOf("vxlan")),
      published,
      (device) => kernel.link(device)?.mac,
      randomMac,
    ),
  );
  const output = await untilStep(daemon, "commands", async () => keeper?.prepare());
  const keys = await untilStep(daemon, "key", async () =>
    conf.backendType === "wireguard" ? keepKeys(options.wireguardKeyFile) : undefined,
  );
  const backend = chooseBackend(conf, { output, keys, before: earlierBackends.backends });
  return { conf, settings, external, backend, macs, kernel, keeper, earlierBackends };
}

/** Waits for a config with a backend that this flanneld has. */
async function configure(
  daemon: DaemonContext,
  onTried: () => void,
): Promise<readonly [NetConf, PeerKeeper | undefined]> {
  const { sys, log, manager, signal, opened } = daemon;
  return untilStep(daemon, "config", async () => {
    const conf = await manager.config(signal);
    chooseBackend(conf, {});
    const keeper = await choosePeerKeeper(sys, log, conf, onTried);
    if (keeper !== undefined) opened.push(keeper);
    return [conf, keeper] as const;
  });
}
