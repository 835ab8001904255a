import { Failure } from "../../shared/base/failure.ts";
import type { Log } from "../../shared/daemon/log.ts";
import type { NetConf } from "../../shared/flannel/net_conf.ts";
import type { LastingSys } from "../../shared/runtime/sys.ts";
import { findThreads } from "../../shared/runtime/threads.ts";
import { readExtensionCommands } from "./backends/extension.ts";
import { readUdpPort } from "./backends/udp.ts";
import { ExtensionRunner } from "./extension/extension_runner.ts";
import type { PeerKeeper } from "./peer_keeper.ts";
import { UdpTunnel } from "./udp/udp_tunnel.ts";

/**
 * What reaches the peers of a config's backend, if the kernel's tables alone do not.
 * @param onTried called when it has tried to reach all peers that it has been told of.
 * @throws Failure invalid
 */
export async function choosePeerKeeper(
  sys: LastingSys,
  log: Log,
  conf: NetConf,
  onTried: () => void,
): Promise<PeerKeeper | undefined> {
  if (conf.backendType === "extension") {
    const commands = readExtensionCommands(conf.backend);
    const networks = { ipv4: conf.network, ipv6: conf.ipv6Network };
    return new ExtensionRunner({ sys, log, commands, networks, onTried });
  }
  if (conf.backendType !== "udp") return undefined;
  const threads = await findThreads();
  if (threads === undefined) {
    throw new Failure(
      "invalid",
      "Cannot use the backend udp: the Node build has no thread that can forward packets.",
      'Use the Bun build, or set Backend.Type in net-conf.json to "vxlan".',
    );
  }
  return new UdpTunnel({ sys, log, threads, port: readUdpPort(conf.backend) });
}
