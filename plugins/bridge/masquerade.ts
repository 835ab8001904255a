import { asCniError, type CniError, joinErrors } from "../../shared/cni/error.ts";
import type { Attachment } from "../../shared/cni/request.ts";
import type { Context } from "../../shared/cni/plugin.ts";
import type { Backend } from "../../shared/firewall/driver.ts";
import { backends, driverOf } from "../../shared/firewall/drivers.ts";
import {
  listedMasquerade,
  masqueradeKind,
  masqueradeRuleset,
} from "../../shared/firewall/masquerade.ts";
import type { Masquerade } from "../../shared/firewall/masquerade.ts";
import { masqueradeChain, masqueradeTag, networkTag } from "../../shared/firewall/names.ts";
import { formatAddress } from "../../shared/net/address.ts";
import type { Family } from "../../shared/net/address.ts";
import type { Cidr } from "../../shared/net/cidr.ts";
import type { BridgeConfig } from "./conf.ts";

type Env = Pick<Context<unknown>, "node" | "firewall" | "warn">;

const families: readonly Family[] = [4, 6];

/**
 * Masquerades what a container sends out of its subnet.
 * @param otherAddresses the addresses of the container's other interfaces.
 * @throws Failure firewall, busy
 */
export function addMasquerade(
  env: Env,
  conf: BridgeConfig,
  masquerade: Masquerade,
  addresses: readonly Cidr[],
  otherAddresses: () => readonly Cidr[],
): void {
  const wanted = masqueradeRuleset(masquerade, addresses, env.node.sys.sha512);
  const driver = driverOf(env.firewall, backendOf(env, conf));
  if (isMasqueraded(env, masquerade)) {
    // Another interface of the container, whose rules stay. These are added to them.
    if (isShared(env, masquerade, otherAddresses())) {
      driver.complete(families, wanted);
      return;
    }
    // Left by a killed DEL. Without this they would exist twice.
    removeMasquerade(env, masquerade);
  }
  // The table nearly always exists. Setting it up again would empty and refill a chain.
  if (!driver.add(families, [wanted])) driver.reconcile(families, [wanted]);
}

/** Whether a container's chain has rules for its other addresses. */
function isShared(
  { firewall, node: { sys } }: Env,
  masquerade: Masquerade,
  otherAddresses: readonly Cidr[],
): boolean {
  const chain = masqueradeChain(sys.sha512, masquerade.network, masquerade.containerId);
  return families.some((family) => {
    const hosts = otherAddresses
      .filter(({ address }) => address.family === family)
      .map(({ address }) => `-s ${formatAddress(address)}/`);
    if (hosts.length === 0) return false;
    const lines = (firewall.save(family, "nat") ?? "").split("\n");
    return lines.some(
      (line) => line.endsWith(` -j ${chain}`) && hosts.some((host) => line.includes(host)),
    );
  });
}

/** Whether a container has rules in any backend. */
function isMasqueraded({ firewall, node: { sys } }: Env, masquerade: Masquerade): boolean {
  const owner = masqueradeRuleset(masquerade, [], sys.sha512);
  return backends.some((backend) => {
    const driver = driverOf(firewall, backend);
    return families.some((family) => driver.has(family, owner));
  });
}

function backendOf({ node }: Env, conf: BridgeConfig): Backend {
  return conf.ipMasqBackend ?? (node.hasCommand("iptables-restore") ? "iptables" : "nftables");
}

/**
 * Restores a container's masquerading after something has flushed it.
 * @returns the families in which it was missing.
 * @throws Failure firewall, busy
 */
export function repairMasquerade(
  env: Env,
  conf: BridgeConfig,
  masquerade: Masquerade,
  addresses: readonly Cidr[],
  dryRun: boolean,
): Family[] {
  const wanted = masqueradeRuleset(masquerade, addresses, env.node.sys.sha512);
  const driver = driverOf(env.firewall, backendOf(env, conf));
  const missing = families.filter((family) => driver.missing(family, wanted) !== undefined);
  if (missing.length > 0 && !dryRun) driver.complete(families, wanted);
  return missing;
}

/**
 * Removes a container's masquerading in both backends and families, because the config may have changed
 * since ADD. The rules are found by the container's id, without its namespace or addresses.
 * @throws CniError what could not be removed, after everything else was.
 */
export function removeMasquerade(env: Env, masquerade: Masquerade): void {
  const { node, warn } = env;
  if (!["iptables-save", "nft"].some((name) => node.hasCommand(name))) {
    warn(
      `The masquerading rules of ${masquerade.containerId} are left, if there are any: neither iptables nor nft is installed, or in PATH.`,
    );
    return;
  }
  const owner = masqueradeRuleset(masquerade, [], node.sys.sha512);
  inEach(env, (backend) => {
    driverOf(env.firewall, backend).remove(families, [owner]);
  });
}

/**
 * Removes the masquerading of a network's containers that are not valid.
 * @throws CniError what could not be removed, after everything else was.
 */
export function collectMasquerade(env: Env, network: string, valid: readonly Attachment[]): void {
  const digest = env.node.sys.sha512;
  const tagPrefix = `${networkTag(digest, network)}-`;
  const tags = new Set(
    valid.map(({ containerId, ifname }) => masqueradeTag(digest, network, ifname, containerId)),
  );
  const ids = new Set(valid.map(({ containerId }) => containerId));
  inEach(env, (backend) => {
    const driver = driverOf(env.firewall, backend);
    const gone = driver
      .list(families, masqueradeKind)
      .filter((owner) =>
        owner.tag === undefined
          ? owner.network === network && !ids.has(owner.containerId ?? "")
          : owner.tag.startsWith(tagPrefix) && !tags.has(owner.tag),
      );
    driver.remove(
      families,
      gone.map((owner) => listedMasquerade(owner, digest)),
    );
  });
}

/** Works on every backend that the node has, even after one fails. */
function inEach({ node }: Env, action: (backend: Backend) => void): void {
  const errors: CniError[] = [];
  for (const backend of backends) {
    if (!node.hasCommand(backend === "iptables" ? "iptables-save" : "nft")) continue;
    try {
      action(backend);
    } catch (error) {
      errors.push(asCniError(error));
    }
  }
  if (errors.length > 0) throw joinErrors(errors);
}
