import { sleep } from "../../shared/daemon/backoff.ts";
import type { Lease } from "../../shared/flannel/lease.ts";
import { untilStep } from "./daemon_context.ts";
import type { DaemonContext } from "./daemon_context.ts";
import type { NodeSetup } from "./node_setup.ts";
import type { NodeObserver } from "./node_sync.ts";
import type { PeerSync } from "./peer_sync.ts";
import type { Reconciler } from "./reconciler.ts";

/** Milliseconds in which peers are usually known. */
const peersPatience = 2000;

export interface ResumeOptions {
  readonly daemon: DaemonContext;
  readonly setup: NodeSetup;
  readonly reconciler: Pick<Reconciler, "configure" | "whenTried">;
  readonly peers: Pick<PeerSync, "introduce" | "whenComplete">;
  readonly observe: NodeObserver;
}

/**
 * Makes the devices and the ways to peers for the lease that this node had, before peers are told
 * what it is now: they send packets by the backend that they are told of as soon as they are told.
 */
export async function resumeLease(
  { daemon, setup, reconciler, peers, observe }: ResumeOptions,
  lease: Lease,
): Promise<void> {
  const { external, macs, keeper, earlierBackends } = setup;
  reconciler.configure({ lease, external, macs, isPublished: false });
  await reconciler.whenTried();
  await Promise.race([peers.whenComplete(), sleep(peersPatience, daemon.signal)]);
  const context = await untilStep(daemon, "interface", async () =>
    observe.context(lease, external),
  );
  await peers.introduce(context);
  await untilStep(daemon, "commands", async () => keeper?.listen?.(lease, external));
  await earlierBackends.follow(lease, external);
}
