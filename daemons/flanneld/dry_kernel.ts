import type { Family } from "../../shared/net/address.ts";
import type { ListedFdbEntry, NeighbourEntry } from "../../shared/netlink/neighbour.ts";
import type { OverlayChange } from "../../shared/netlink/overlay_change.ts";
import type { WireguardDevice } from "../../shared/netlink/wireguard.ts";
import { OverlayKernel, plannedDevice } from "./overlay_kernel.ts";
import type { Outcome } from "./overlay_kernel.ts";

/**
 * A kernel that nothing is changed in: changes are recorded, and appear as if they had been made.
 */
export class DryKernel extends OverlayKernel {
  readonly planned: OverlayChange[] = [];

  override get isDry(): boolean {
    return true;
  }

  override execute(changes: readonly OverlayChange[]): Outcome[] {
    this.planned.push(...changes);
    return changes.map(() => ({ errno: 0, problem: "" }));
  }

  override setSysctl(): void {
    // Changes of a device that would be new are part of making it.
  }

  override wireguard(link: number): WireguardDevice | undefined {
    return link === plannedDevice ? undefined : super.wireguard(link);
  }

  override neighbours(family: Family, link: number): NeighbourEntry[] {
    return link === plannedDevice ? [] : super.neighbours(family, link);
  }

  override fdb(link: number): ListedFdbEntry[] {
    return link === plannedDevice ? [] : super.fdb(link);
  }
}
