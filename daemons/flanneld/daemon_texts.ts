import { withoutFullStop } from "../../shared/base/text.ts";
import type { Lease } from "../../shared/flannel/lease.ts";
import type { ExternalInterface } from "./backends/backend.ts";
import type { Admission } from "./leases/admission.ts";
import type { LeaseManagerHealth } from "./leases/lease_manager.ts";
import { flanneldMetrics } from "./metrics.ts";
import type { Readiness } from "./readiness.ts";
import type { ReconcilerStatus, WantedPeer } from "./reconciler_status.ts";
import type { RefusalLog } from "./refusal_log.ts";
import { takeSnapshot } from "./snapshot.ts";
import type { StateTexts } from "./state_servers.ts";
import type { TrafficStatus } from "./traffic/keeper.ts";

/** Set at build time from package.json. */
declare const FLANNEL_CNI_VERSION: string;

/** What there is to tell of a flanneld, as it is now. */
export interface DaemonState {
  readonly health: LeaseManagerHealth;
  readonly readiness: Readiness;
  readonly refusals: RefusalLog;
  readonly admitted: Admission | undefined;
  readonly lease: Lease | undefined;
  readonly external: ExternalInterface | undefined;
  readonly backend: string | undefined;
  /** Bytes, of the pods. */
  readonly mtu: number | undefined;
  /** Counts all peers, which most of those who look have no need of. */
  readonly overlay: () => ReconcilerStatus | undefined;
  readonly peers: () => readonly WantedPeer[] | undefined;
  readonly traffic: TrafficStatus | undefined;
  /** What the reconciler cannot do, as sentences. */
  readonly problems: readonly string[];
}

/** What the servers of flanneld's state answer. */
export function stateTexts(look: () => DaemonState): StateTexts {
  return {
    notReady: () => {
      const { readiness, health } = look();
      const why = readiness.problem;
      return why === undefined ? undefined : (health.problem ?? `${withoutFullStop(why)}.`);
    },
    waits: () => waitsOf(look()),
    metrics: () => {
      const { health: leases, admitted: admission, readiness, ...state } = look();
      return flanneldMetrics({
        ...{ leases, admission, refusals: state.refusals, overlay: state.overlay() },
        ...{ traffic: state.traffic, mtu: state.mtu, isReady: readiness.problem === undefined },
      });
    },
    snapshot: () => {
      const state = look();
      const { readiness, lease, external, backend, mtu, health, traffic } = state;
      return JSON.stringify(
        takeSnapshot({
          version: FLANNEL_CNI_VERSION,
          waitsFor: readiness.problem,
          waits: waitsOf(state),
          ...{ lease, external, backend, mtu, health, traffic },
          ...{ overlay: state.overlay(), peers: state.peers() },
          refused: state.admitted?.refused,
        }),
      );
    },
  };
}

/** What is waited for now, as sentences. */
export function waitsOf({ health, readiness, problems }: DaemonState): string[] {
  const all = [health.problem, ...readiness.waits, ...problems];
  return [...new Set(all.filter((problem) => problem !== undefined))];
}
