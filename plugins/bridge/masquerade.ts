import { asCniError, type CniError, joinErrors } from "../../shared/cni/error.ts";
import type { Attachment } from "../../shared/cni/request.ts";
import type { Context } from "../../shared/cni/plugin.ts";
import { changedSince, retryOnConflict } from "../../shared/firewall/retry.ts";
import { formatAddress } from "../../shared/net/address.ts";
import type { Family } from "../../shared/net/address.ts";
import type { Cidr } from "../../shared/net/cidr.ts";
import {
  iptablesAdd,
  iptablesOwners,
  iptablesRemove,
  iptablesRepair,
  nftAdd,
  nftBase,
  nftChecks,
  nftList,
  nftRemove,
  nftRepair,
  nftTable,
  nftWhole,
} from "../../shared/firewall/masquerade.ts";
import type { Masquerade } from "../../shared/firewall/masquerade.ts";
import { masqueradeChain, masqueradeTag, networkTag } from "../../shared/firewall/names.ts";
import type { BridgeConfig } from "./conf.ts";

type Env = Pick<Context<unknown>, "node" | "firewall">;

const families: readonly Family[] = [4, 6];

/** What is around an interface. */
interface Around {
  /** The addresses of the container's other interfaces. */
  readonly others: () => readonly Cidr[];
  /** See {@link removeMasquerade}. */
  readonly warn: (line: string) => void;
}

/**
 * Masquerades what a container sends out of its subnet: one transaction for each family.
 * @throws CniError Firewall, TryAgainLater
 */
export function addMasquerade(
  env: Env,
  conf: BridgeConfig,
  of: Masquerade,
  addresses: readonly Cidr[],
  { others, warn }: Around,
): void {
  if (isMasqueraded(env, of)) {
    // Another interface of the container, whose rules stay; these are added to them.
    if (isShared(env, of, others())) {
      repairMasquerade(env, conf, of, addresses, false);
      return;
    }
    // A DEL that was killed has left them, and they would be there twice.
    removeMasquerade(env, of, warn);
  }
  const {
    firewall,
    node: { sys },
  } = env;
  if (backendOf(env, conf) === "nftables") {
    const rules = nftAdd(of, addresses, sys.sha512);
    // Nearly always the table is there, and to set it up again would empty and refill a chain.
    if (!firewall.nft(rules)) firewall.nft(nftBase + rules);
    return;
  }
  for (const family of families) {
    const own = addresses.filter(({ address }) => address.family === family);
    if (own.length > 0) firewall.restore(family, iptablesAdd(of, own, sys.sha512));
  }
}

/** Whether a container's chain holds rules of other addresses that it has. */
function isShared(
  { firewall, node: { sys } }: Env,
  of: Masquerade,
  others: readonly Cidr[],
): boolean {
  const chain = masqueradeChain(sys.sha512, of.network, of.containerId);
  return families.some((family) => {
    const hosts = others
      .filter(({ address }) => address.family === family)
      .map(({ address }) => `-s ${formatAddress(address)}/`);
    if (hosts.length === 0) return false;
    const lines = (firewall.save(family, "nat") ?? "").split("\n");
    return lines.some(
      (line) => line.endsWith(` -j ${chain}`) && hosts.some((host) => line.includes(host)),
    );
  });
}

/** Whether a container has rules, asked of the kernel: it costs microseconds. */
function isMasqueraded({ firewall, node: { sys } }: Env, of: Masquerade): boolean {
  const chain = masqueradeChain(sys.sha512, of.network, of.containerId);
  const tag = masqueradeTag(sys.sha512, of.network, of.ifname, of.containerId);
  return (
    families.some((family) =>
      firewall.hasIptablesChain(family, "nat", chain, firewall.variant(family)),
    ) || firewall.rules("inet", nftTable, nftChecks, tag).length > 0
  );
}

function backendOf(env: Env, conf: BridgeConfig): "iptables" | "nftables" {
  return conf.ipMasqBackend ?? (env.node.hasCommand("iptables-restore") ? "iptables" : "nftables");
}

/**
 * Puts a container's masquerading back where something has flushed it.
 * @returns the families in which it was missing.
 * @throws CniError Firewall, TryAgainLater
 */
export function repairMasquerade(
  env: Env,
  conf: BridgeConfig,
  of: Masquerade,
  addresses: readonly Cidr[],
  dryRun: boolean,
): Family[] {
  const {
    firewall,
    node: { sys },
  } = env;
  const ownOf = (family: Family): Cidr[] =>
    addresses.filter(({ address }) => address.family === family);
  if (backendOf(env, conf) === "nftables") {
    const listed = firewall.nftList(nftWhole) ?? "";
    const isMissing = (family: Family): boolean =>
      ownOf(family).length > 0 && nftRepair(of, ownOf(family), listed, sys.sha512) !== undefined;
    const missing = families.filter(isMissing);
    const text = nftRepair(of, addresses, listed, sys.sha512);
    if (text !== undefined && !dryRun) firewall.nft(text);
    return missing;
  }
  return families.filter((family) => {
    const own = ownOf(family);
    const saved = own.length === 0 ? undefined : firewall.save(family, "nat");
    const text = saved === undefined ? undefined : iptablesRepair(of, own, saved, sys.sha512);
    if (text !== undefined && !dryRun) firewall.restore(family, text);
    return text !== undefined;
  });
}

/**
 * Takes a container's masquerading away, whichever backend and families made it: the config may
 * have changed since. It is found by the container's id, so neither its namespace nor its addresses
 * are asked for.
 * @param warn is told when this node has no tool to look with.
 * @throws CniError what could not be done, after all that could be.
 */
export function removeMasquerade(env: Env, of: Masquerade, warn: (line: string) => void): void {
  const { sys } = env.node;
  const tag = masqueradeTag(sys.sha512, of.network, of.ifname, of.containerId);
  const looked = remove(
    env,
    (saved) => iptablesRemove(of.network, [of.containerId], saved, sys.sha512),
    (listed) => nftRemove((found) => found === tag, listed),
  );
  if (looked) return;
  warn(
    `The masquerading rules of ${of.containerId} are left, if there are any: neither iptables nor nft is installed, or in PATH.`,
  );
}

/**
 * Takes away the masquerading of a network's containers that are not among the valid ones.
 * @throws CniError what could not be done, after all that could be.
 */
export function collectMasquerade(env: Env, network: string, valid: readonly Attachment[]): void {
  const { sys } = env.node;
  const tags = new Set(
    valid.map(({ containerId, ifname }) => masqueradeTag(sys.sha512, network, ifname, containerId)),
  );
  const own = networkTag(sys.sha512, network);
  remove(
    env,
    (saved) => {
      const gone = iptablesOwners(network, saved).filter(
        (owner) => !valid.some(({ containerId }) => containerId === owner),
      );
      return iptablesRemove(network, gone, saved, sys.sha512);
    },
    (listed) => nftRemove((tag) => tag.startsWith(`${own}-`) && !tags.has(tag), listed),
  );
}

/** @returns whether there was a tool to look with. */
function remove(
  { firewall }: Env,
  fromIptables: (saved: string) => string | undefined,
  fromNft: (listed: string) => string | undefined,
): boolean {
  const errors: CniError[] = [];
  let looked = false;
  for (const family of families) {
    attempt(errors, () => {
      const saved = firewall.save(family, "nat");
      if (saved === undefined) return;
      looked = true;
      const text = fromIptables(saved);
      if (text !== undefined) firewall.restore(family, text);
    });
  }
  attempt(errors, () => {
    const listed = firewall.nftList(nftList);
    if (listed === undefined) return;
    looked = true;
    const commands = fromNft(listed);
    if (commands !== undefined && !firewall.nft(commands)) throw changedSince();
  });
  if (errors.length > 0) throw joinErrors(errors);
  return looked;
}

/** Does one part of the work, the others being done whether it fails or not. */
function attempt(errors: CniError[], action: () => void): void {
  try {
    retryOnConflict(action);
  } catch (error) {
    errors.push(asCniError(error));
  }
}
