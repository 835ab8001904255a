import { CniError, Code } from "../../shared/cni/error.ts";
import { validate } from "../../shared/cni/conf.ts";
import type { Plugin } from "../../shared/cni/plugin.ts";
import { findContainerNetns, openContainerNetns } from "../../shared/cni/container_netns.ts";
import { formatAddress, isLoopback } from "../../shared/net/address.ts";
import type { Cidr } from "../../shared/net/cidr.ts";
import type { LoopbackConf } from "../../schemas/generated/types.ts";
import { validateLoopback } from "../../schemas/generated/validators.js";

/** The one interface that this plugin knows, whatever CNI_IFNAME says. */
const name = "lo";

/** Brings a container's loopback interface up. containerd calls it before the pod's own network. */
export const loopback: Plugin<LoopbackConf> = {
  name: "loopback",
  validator: validateLoopback,

  parse: (raw) => validate(validateLoopback, raw, "the loopback config"),

  async add(context) {
    const container = openContainerNetns(context);
    container.apply([{ kind: "set-link", name, up: true }]);
    const link = container.link(name);
    const addresses = link === undefined ? [] : container.addresses(link);
    for (const address of addresses) checkLoopback(address);
    if (context.prevResult !== undefined) return context.prevResult;
    return {
      interfaces: [{ name, mac: "00:00:00:00:00:00", sandbox: context.request.netns }],
      ips: addresses.map((address) => ({ interface: 0, address })),
      routes: [],
      dns: {},
    };
  },

  async del(context) {
    findContainerNetns(context)?.apply([{ kind: "set-link", name, up: false }]);
  },

  async check(context) {
    if (openContainerNetns(context).link(name)?.up === true) return;
    throw new CniError(
      Code.CheckFailed,
      `Cannot confirm the container's network: ${name} is down in ${context.request.netns}.`,
      `Bring it up with: nsenter --net=${context.request.netns} ip link set ${name} up.`,
    );
  },

  /** Loopback keeps nothing outside the container. */
  async gc() {
    return Promise.resolve();
  },

  async status() {
    return Promise.resolve();
  },
};

function checkLoopback({ address }: Cidr): void {
  if (isLoopback(address)) return;
  throw new CniError(
    Code.Conflict,
    `Cannot set up ${name}: its addresses must be loopback addresses (got ${formatAddress(address)}).`,
    "Something else has configured this container's namespace. Remove the address, or find what added it.",
  );
}
