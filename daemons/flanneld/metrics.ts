import { formatMetrics } from "../../shared/daemon/metrics.ts";
import { deviceDrops } from "./device_drops.ts";
import type { Admission } from "./leases/admission.ts";
import type { LeaseManagerHealth } from "./leases/lease_manager.ts";
import type { RefusalLog } from "./refusal_log.ts";
import type { ReconcilerStatus } from "./reconciler_status.ts";
import type { TrafficStatus } from "./traffic/keeper.ts";

export interface FlanneldState {
  readonly leases: LeaseManagerHealth;
  readonly admission: Admission | undefined;
  readonly refusals: Pick<RefusalLog, "count" | "size">;
  readonly overlay: ReconcilerStatus | undefined;
  readonly traffic: TrafficStatus | undefined;
  readonly isReady: boolean;
  readonly mtu: number | undefined;
}

/** What flanneld tells Prometheus of itself. */
export function flanneldMetrics(state: FlanneldState): string {
  const { leases, admission, overlay, traffic } = state;
  const now = Date.now();
  const age = leases.lastEvent === undefined ? undefined : (now - leases.lastEvent) / 1000;
  const left = leases.leaseExpiry === undefined ? undefined : (leases.leaseExpiry - now) / 1000;
  return formatMetrics([
    {
      name: "flanneld_ready",
      help: "1 when the node's network is up.",
      type: "gauge",
      value: Number(state.isReady),
    },
    {
      name: "flanneld_peers",
      help: "Other nodes with a lease.",
      type: "gauge",
      value: admission === undefined ? undefined : admission.leases.size,
    },
    {
      name: "flanneld_peers_refused",
      help: "Other nodes whose lease does not fit in.",
      type: "gauge",
      value: admission === undefined ? undefined : state.refusals.size,
    },
    {
      name: "flanneld_peer_refusals_total",
      help: "Times that a lease was found not to fit in.",
      type: "counter",
      value: state.refusals.count,
    },
    {
      name: "flanneld_routes_wanted",
      help: "Subnets of other nodes that packets are to reach.",
      type: "gauge",
      value: overlay?.wanted,
    },
    {
      name: "flanneld_routes_programmed",
      help: "Subnets of other nodes that packets can reach.",
      type: "gauge",
      value: overlay?.programmed,
    },
    {
      name: "flanneld_repairs_total",
      help: "What something else had taken away or changed, by kind.",
      type: "counter",
      value:
        overlay &&
        Object.entries({ ...overlay.repairs, rule: traffic?.repairs ?? 0 }).map(
          ([kind, value]) => ({ labels: { kind }, value }),
        ),
    },
    {
      name: "flanneld_convergence_seconds",
      help: "Time from the last change of leases, or of this node, until packets had their ways.",
      type: "gauge",
      value: overlay?.convergence === undefined ? undefined : overlay.convergence / 1000,
    },
    {
      name: "flanneld_device_drops_total",
      help: "Packets that flannel's devices have dropped.",
      type: "counter",
      value: deviceDrops(overlay?.devices ?? []),
    },
    {
      name: "flanneld_kernel_event_losses_total",
      help: "Times that the kernel's events were more than there was room for.",
      type: "counter",
      value: overlay?.losses,
    },
    {
      name: "flanneld_rule_look_failures_total",
      help: "Times that the firewall's rules could not be looked at.",
      type: "counter",
      value: state.traffic?.failedLooks,
    },
    {
      name: "flanneld_lease_errors_total",
      help: "Failed requests to the Kubernetes API or etcd.",
      type: "counter",
      value: leases.errors,
    },
    {
      name: "flanneld_watch_age_seconds",
      help: "Time since the last sign of life of the Kubernetes API or etcd.",
      type: "gauge",
      value: age,
    },
    {
      name: "flanneld_lease_seconds_left",
      help: "Time until this node's lease in etcd ends without a renewal.",
      type: "gauge",
      value: left,
    },
    { name: "flanneld_mtu_bytes", help: "MTU of the pods.", type: "gauge", value: state.mtu },
  ]);
}
