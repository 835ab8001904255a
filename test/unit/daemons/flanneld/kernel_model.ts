/** As much of a kernel as flanneld changes, for tests of what it plans. */
import { sameAddress } from "../../../../shared/net/address.ts";
import type { Address } from "../../../../shared/net/address.ts";
import { sameCidr } from "../../../../shared/net/cidr.ts";
import type { Cidr } from "../../../../shared/net/cidr.ts";
import type { ListedFdbEntry, NeighbourEntry } from "../../../../shared/netlink/neighbour.ts";
import type { OverlayChange } from "../../../../shared/netlink/overlay_change.ts";
import { usualMetric } from "../../../../shared/netlink/route.ts";
import type { NewRoute, TableRoute } from "../../../../shared/netlink/route.ts";
import type { VxlanLink } from "../../../../shared/netlink/vxlan.ts";

const [ENOENT, ESRCH, EEXIST, ENODEV] = [2, 3, 17, 19];

/** A link without anything special about it. */
const plainLink = {
  promiscuous: false,
  operational: false,
  carrier: false,
  master: 0,
  peer: 0,
  hairpin: false,
  isolated: false,
  vlanFiltering: false,
  defaultVlan: 0,
};

export class KernelModel {
  links: VxlanLink[] = [];
  readonly addresses = new Map<number, Cidr[]>();
  neighbours: NeighbourEntry[] = [];
  fdb: ListedFdbEntry[] = [];
  routes: TableRoute[] = [];
  #nextIndex = 100;

  /** @returns the errno. */
  execute(change: OverlayChange): number {
    switch (change.kind) {
      case "create-ipip":
      case "create-tun":
      case "create-wireguard":
      case "set-wireguard":
      case "set-wireguard-peer":
      case "delete-wireguard-peer":
        throw new Error("the model has vxlan devices alone");
      case "create-vxlan":
        return this.#create(change.device);
      case "change-vxlan":
        return this.#changeLink(change.index, (link) => ({
          ...link,
          vxlan: { ...link.vxlan, ...pick(change.device) },
        }));
      case "set-device":
        return this.#changeLink(change.index, (link) => ({
          ...link,
          name: change.name ?? link.name,
          mac: change.mac ?? link.mac,
          mtu: change.mtu ?? link.mtu,
          up: change.up ?? link.up,
        }));
      case "delete-device":
        if (!this.links.some(({ index }) => index === change.index)) return ENODEV;
        this.links = this.links.filter(({ index }) => index !== change.index);
        this.addresses.delete(change.index);
        return 0;
      case "add-device-address":
        this.addresses.set(change.index, [
          ...(this.addresses.get(change.index) ?? []),
          change.address,
        ]);
        return 0;
      case "delete-device-address":
        this.addresses.set(
          change.index,
          (this.addresses.get(change.index) ?? []).filter(
            (known) => !sameCidr(known, change.address),
          ),
        );
        return 0;
      case "set-neighbour":
        this.neighbours = this.neighbours.filter(not(change.neighbour.address));
        this.neighbours.push({ ...change.neighbour, permanent: true });
        return 0;
      case "delete-neighbour": {
        const left = this.neighbours.filter(not(change.address));
        if (left.length === this.neighbours.length) return ENOENT;
        this.neighbours = left;
        return 0;
      }
      case "set-fdb":
        this.fdb = this.fdb.filter(({ mac }) => mac !== change.entry.mac);
        this.fdb.push({ ...change.entry, permanent: true });
        return 0;
      case "delete-fdb": {
        const left = this.fdb.filter(
          ({ mac, dst }) => mac !== change.mac || !isSameAddress(dst, change.dst),
        );
        if (left.length === this.fdb.length) return ENOENT;
        this.fdb = left;
        return 0;
      }
      case "set-route":
        return this.#setRoute(change.route, change.replace);
      case "delete-route": {
        const at = this.routes.findIndex((route) => isSame(route, change.route));
        if (at < 0) return ESRCH;
        this.routes.splice(at, 1);
        return 0;
      }
    }
  }

  #create(device: Extract<OverlayChange, { kind: "create-vxlan" }>["device"]): number {
    if (this.links.some(({ name }) => name === device.name)) return EEXIST;
    const { name, mac, mtu, vni, parent, local, port = 8472, learning, gbp } = device;
    const rest = { l2miss: false, external: false };
    const vxlan = { vni, parent, local, port, learning, gbp, ...rest };
    const index = this.#nextIndex++;
    this.links.push({ ...plainLink, index, name, kind: "vxlan", mac, mtu, up: false, vxlan });
    return 0;
  }

  #changeLink(index: number, change: (link: VxlanLink) => VxlanLink): number {
    const at = this.links.findIndex((link) => link.index === index);
    const found = this.links[at];
    if (found === undefined) return ENODEV;
    this.links[at] = change(found);
    return 0;
  }

  /** The kernel replaces the first with the same metric, whoever has made it. */
  #setRoute(route: NewRoute, replace: boolean): number {
    const made = listed(route);
    const at = this.routes.findIndex(
      ({ dst, metric }) => sameCidr(dst, made.dst) && metric === made.metric,
    );
    if (at < 0) this.routes.push(made);
    else if (replace) this.routes[at] = made;
    else return EEXIST;
    return 0;
  }
}

function pick({ parent, local, learning }: { parent: number; local: Address; learning: boolean }) {
  return { parent, local, learning };
}

export function vxlanLink(
  parts: Partial<VxlanLink> & Pick<VxlanLink, "index" | "name" | "mac" | "vxlan">,
): VxlanLink {
  return { ...plainLink, kind: "vxlan", mtu: 1450, up: true, ...parts };
}

function listed({ dst, via, protocol, metric }: NewRoute): TableRoute {
  const common = {
    dst,
    protocol,
    multipath: false,
    metric: metric ?? usualMetric(dst.address.family),
  };
  return via === "blackhole"
    ? { ...common, type: "blackhole", gateway: undefined, link: 0, onlink: false }
    : { ...common, ...via, type: "unicast" };
}

function isSame(a: TableRoute, b: TableRoute): boolean {
  return (
    sameCidr(a.dst, b.dst) &&
    a.metric === b.metric &&
    a.protocol === b.protocol &&
    a.type === b.type &&
    a.link === b.link &&
    isSameAddress(a.gateway, b.gateway)
  );
}

function isSameAddress(a: Address | undefined, b: Address | undefined): boolean {
  return a === undefined || b === undefined ? a === b : sameAddress(a, b);
}

function not(address: Address) {
  return (entry: NeighbourEntry): boolean => !sameAddress(entry.address, address);
}
