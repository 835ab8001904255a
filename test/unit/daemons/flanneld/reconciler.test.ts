import { describe, expect, it, onTestFinished, vi } from "vitest";

import type { ExternalInterface } from "../../../../daemons/flanneld/backends/backend.ts";
import { readVxlanOptions, vxlan } from "../../../../daemons/flanneld/backends/vxlan.ts";
import type { OverlayKernel } from "../../../../daemons/flanneld/overlay_kernel.ts";
import { Reconciler } from "../../../../daemons/flanneld/reconciler.ts";
import type { InterfaceAddress } from "../../../../shared/netlink/interface_address.ts";
import { RouteProtocol } from "../../../../shared/netlink/route.ts";
import { isDone } from "../../../../shared/netlink/overlay_change.ts";
import type { OverlayChange } from "../../../../shared/netlink/overlay_change.ts";
import type { Lease } from "../../../../shared/flannel/lease.ts";
import { parseAddress } from "../../../../shared/net/address.ts";
import { formatCidr, parseCidr } from "../../../../shared/net/cidr.ts";
import { fakeSys } from "../../shared/runtime/fake_sys.ts";
import { KernelModel, vxlanLink } from "./kernel_model.ts";

const network = parseCidr("10.244.0.0/16");
const external: ExternalInterface = {
  ...{ name: "eth0", index: 2, mtu: 1500 },
  ...{ address: parseAddress("10.77.0.11"), addressV6: undefined },
  ...{ publicIp: parseAddress("10.77.0.11"), publicIpv6: undefined },
};

function lease(number: number): Lease {
  return {
    id: `n${number}`,
    subnet: parseCidr(`10.244.${number}.0/24`),
    subnetV6: undefined,
    since: number,
    attributes: {
      ...{ publicIp: parseAddress(`10.77.0.1${number}`), publicIpv6: undefined },
      ...{ backendType: "vxlan", backendV6Data: undefined },
      backendData: { VNI: 1, VtepMAC: `02:00:00:00:00:0${number}` },
    },
  };
}

const peers = new Map([2, 3].map((number) => [`n${number}`, lease(number)]));

const backend = vxlan({ ipv4: network, ipv6: undefined }, readVxlanOptions({}));

interface NodeOptions {
  /** Happens while the routes are read. */
  readonly whileRead?: () => void;
  readonly blackholes?: boolean;
  /** Whether peers have been told what the node is; before that they have no routes. */
  readonly isPublished?: boolean;
  /** The errno with which the kernel refuses a change; 0 for none. */
  readonly refuse?: (change: OverlayChange) => number;
}

/** A node with a kernel that is a model. */
function node(model: KernelModel, options: NodeOptions = {}) {
  const { whileRead = () => {}, blackholes = false, refuse = () => 0 } = options;
  const { isPublished = true } = options;
  const made: OverlayChange[] = [];
  const kernel: Partial<OverlayKernel> = {
    isDry: false,
    link: (name) => (name === "eth0" ? ({ index: 2, mtu: 1500 } as never) : undefined),
    vxlans: () => model.links,
    addresses: (index) => model.addresses.get(index) ?? [],
    neighbours: () => model.neighbours,
    fdb: () => model.fdb,
    routes: () => {
      whileRead();
      return model.routes;
    },
    interfaceAddresses: () =>
      model.routes
        .filter(({ protocol }) => protocol === RouteProtocol.kernel)
        .map(({ dst, link }) => ({ link, address: dst }) as InterfaceAddress),
    digest: () => undefined,
    nextHops: (addresses) => addresses.map(() => undefined),
    sysctl: () => "0",
    execute: (changes) =>
      changes.map((change) => {
        made.push(change);
        const errno = refuse(change) || model.execute(change);
        return isDone(change, errno) ? { errno: 0, problem: "" } : { errno, problem: "no" };
      }),
  };
  const reconciler = new Reconciler({
    sys: fakeSys({ collectYoung: () => {} }),
    kernel: kernel as OverlayKernel,
    backend: {
      ...backend,
      join: (peer, context) => {
        const objects = backend.join(peer, context);
        const isWaiting = typeof objects === "object" && !context.isPublished;
        return isWaiting ? { ...objects, link: "none" } : objects;
      },
    },
    networks: { ipv4: network, ipv6: undefined },
    previousNetworks: [],
    blackholes,
    log: { info: () => {}, warn: () => {} },
    onExternalChange: () => {},
    onRefusals: () => {},
  });
  onTestFinished(() => {
    reconciler.close();
  });
  const own = {
    ...{ lease: lease(1), external, isPublished },
    macs: { ipv4: "02:00:00:00:00:01", ipv6: "02:00:00:00:00:01" },
  };
  reconciler.configure(own);
  return { reconciler, made, own };
}

function takeTime(): void {
  const end = performance.now() + 20;
  while (performance.now() < end) continue;
}

const deletions = (made: readonly OverlayChange[]) =>
  made.filter(({ kind }) => kind.startsWith("delete"));

describe("the reconciler", () => {
  it("makes what all peers need, and then has nothing to do", async () => {
    const model = new KernelModel();
    const { reconciler, made } = node(model);
    reconciler.setPeers(peers, true);
    await reconciler.whenSynced();
    expect(reconciler.status).toMatchObject({ wanted: 2, programmed: 2, complete: true });
    expect(model.routes).toHaveLength(2);
    const count = made.length;
    reconciler.setPeers(new Map(peers), true);
    await Promise.resolve();
    expect(made).toHaveLength(count);
  });

  it("follows what it is told has changed, and looks at no other peer", async () => {
    const model = new KernelModel();
    const { reconciler, made } = node(model);
    const leases = new Map(peers);
    reconciler.setPeers(leases, true);
    await reconciler.whenSynced();
    made.length = 0;
    leases.set("n4", lease(4)).delete("n2");
    // Not told of.
    leases.set("n3", { ...lease(3), subnet: parseCidr("10.244.9.0/24") });
    reconciler.setPeers(leases, true, new Set(["n4", "n2"]));
    await vi.waitFor(() => {
      expect(made.map(({ kind }) => kind)).toEqual([
        ...["set-fdb", "set-neighbour", "set-route"],
        ...["delete-route", "delete-neighbour", "delete-fdb"],
      ]);
    });
    reconciler.setPeers(leases, true);
    await vi.waitFor(() => {
      const routes = model.routes.map(({ dst }) => formatCidr(dst));
      expect(routes.toSorted()).toEqual(["10.244.4.0/24", "10.244.9.0/24"]);
    });
  });

  it("takes nothing away when the peers become known while it looks at what is there", async () => {
    const model = new KernelModel();
    const first = node(model);
    first.reconciler.setPeers(peers, true);
    await first.reconciler.whenSynced();
    first.reconciler.close();

    let isKnown = false;
    const second = node(model, {
      whileRead: () => {
        if (isKnown) return;
        isKnown = true;
        second.reconciler.setPeers(peers, true);
      },
    });
    await second.reconciler.whenSynced();
    expect(isKnown).toBe(true);
    expect(deletions(second.made)).toEqual([]);
    expect(second.made).toEqual([]);
  });

  it("deletes a device that nobody needs when all peers are known, and have their routes", async () => {
    const model = new KernelModel();
    const options = { vni: 7, parent: 2, local: parseAddress("10.77.0.11"), port: 8472 };
    model.links.push(
      vxlanLink({
        ...{ index: 77, name: "flannel.7", mac: "02:00:00:00:00:77" },
        vxlan: { ...options, learning: false, gbp: false, l2miss: false, external: false },
      }),
    );
    model.addresses.set(77, [parseCidr("10.244.1.0/32")]);
    const { reconciler, made } = node(model);
    reconciler.setPeers(new Map(), false);
    await vi.waitFor(() => expect(reconciler.status.devices).toEqual(["flannel.1"]));
    expect(deletions(made)).toEqual([]);
    reconciler.setPeers(peers, true);
    await reconciler.whenSynced();
    expect(model.links.map(({ name }) => name)).toEqual(["flannel.1"]);
    expect(made.at(-1)?.kind).toBe("delete-device");
  });

  it("counts what was taken away as repaired, also after a change that changed nothing", async () => {
    const model = new KernelModel();
    const { reconciler, own } = node(model);
    reconciler.setPeers(peers, true);
    await reconciler.whenSynced();
    const { lastSync = 0 } = reconciler.status;
    await vi.waitFor(() => expect(Date.now()).toBeGreaterThan(lastSync));
    reconciler.configure(own);
    await vi.waitFor(() => expect(reconciler.status.lastSync).toBeGreaterThan(lastSync));
    model.routes.splice(0);
    reconciler.configure(own);
    await vi.waitFor(() => expect(reconciler.status.repairs.route).toBe(2));
  });

  it("leaves the routes of an earlier life while its peers have not been told of this one", async () => {
    const model = new KernelModel();
    const before = node(model);
    before.reconciler.setPeers(peers, true);
    await before.reconciler.whenSynced();
    before.reconciler.close();
    const routes = [...model.routes];
    expect(routes).toHaveLength(2);
    // A look at everything takes so long that the next one has to wait.
    const { reconciler, made, own } = node(model, { whileRead: takeTime, isPublished: false });
    reconciler.setPeers(peers, false);
    await reconciler.whenIdle();
    reconciler.configure({ ...own, isPublished: true });
    reconciler.setPeers(new Map(peers), true);
    await reconciler.whenSynced();
    expect(made).toEqual([]);
    expect(model.routes).toEqual(routes);
  });

  it("sends nobody what is on this node, whatever the kernel has told of it", async () => {
    const model = new KernelModel();
    const { reconciler, made } = node(model);
    reconciler.setPeers(new Map([["n2", lease(2)]]), true);
    await reconciler.whenSynced();
    // A bridge is new, and its event is on its way.
    model.routes.push({
      ...{ dst: parseCidr("10.244.3.0/24"), link: 9, gateway: undefined, onlink: false },
      ...{ protocol: RouteProtocol.kernel, type: "unicast", metric: 0, multipath: false },
    });
    const before = made.length;
    const thief = { ...lease(1), id: "thief" };
    reconciler.setPeers(new Map([...peers, ["thief", thief]]), true);
    await vi.waitFor(() => expect(reconciler.status.refused).toHaveLength(2));
    expect(reconciler.status.refused.map(({ problem }) => problem)).toEqual([
      "has the subnet 10.244.3.0/24, which overlaps 10.244.3.0/24 on a link of this node",
      "has the subnet 10.244.1.0/24, which overlaps this node's 10.244.1.0/24",
    ]);
    expect(made.slice(before)).toEqual([]);
  });

  it("takes away what is left of peers that have gone, as soon as all are known", async () => {
    const model = new KernelModel();
    const first = node(model);
    first.reconciler.setPeers(peers, true);
    await first.reconciler.whenSynced();
    first.reconciler.close();

    const second = node(model);
    second.reconciler.setPeers(new Map(), false);
    second.reconciler.setPeers(new Map([["n2", lease(2)]]), true);
    await second.reconciler.whenSynced();
    expect(deletions(second.made).map(({ kind }) => kind)).toEqual([
      "delete-route",
      "delete-neighbour",
      "delete-fdb",
    ]);
    expect(model.routes.map(({ dst }) => dst)).toEqual([lease(2).subnet]);
  });

  it.each([
    ["EPERM", 1],
    ["ENODEV, as the device has gone since it was looked at", 19],
    ["ENETDOWN, as the device is down since it was looked at", 100],
  ])("tries what is for no peer again later where the kernel says %s", async (_, errno) => {
    const model = new KernelModel();
    let isRefused = true;
    const { reconciler, made } = node(model, {
      blackholes: true,
      refuse: (change) =>
        change.kind === "set-route" && change.route.via === "blackhole" && isRefused ? errno : 0,
    });
    reconciler.setPeers(peers, true);
    await vi.waitFor(() => expect(reconciler.status.programmed).toBe(2));
    expect(reconciler.status.lastSync).toBeUndefined();
    expect(reconciler.problems).toHaveLength(errno === 1 ? 1 : 0);
    expect(made.filter(({ kind }) => kind === "set-route").length).toBeLessThan(10);
    isRefused = false;
    await reconciler.whenSynced();
    expect(reconciler.problems).toEqual([]);
    expect(model.routes).toHaveLength(3);
  });

  it("takes away the rest where the kernel keeps a part", async () => {
    const model = new KernelModel();
    const first = node(model);
    first.reconciler.setPeers(peers, true);
    await first.reconciler.whenSynced();
    first.reconciler.close();

    const { reconciler, made } = node(model, {
      refuse: ({ kind }) => (kind === "delete-neighbour" ? 1 : 0),
    });
    reconciler.setPeers(new Map(), true);
    await vi.waitFor(() => expect(reconciler.problems).toEqual(["no"]));
    expect(model.routes).toEqual([]);
    expect(model.fdb).toEqual([]);
    expect(made.filter(({ kind }) => kind === "delete-neighbour").length).toBeLessThan(10);
  });
});
