/**
 * Whose rules a listing has, by the comments that bridge and portmap, ours or the reference's, put on
 * them. Pure.
 */
export interface RuleOwner {
  /** Undefined where the rule does not say it. */
  readonly network: string | undefined;
  /** Cut where the firewall allows no longer comment. */
  readonly containerId: string;
}

/** The owners that a listing of iptables' nat table names. */
export function iptablesRuleOwners(saved: string): RuleOwner[] {
  const comment = /--comment "(?:dnat )?name: \\"([^"\\]+)\\" id: \\"([^"\\]+)\\""/;
  return distinct(
    saved.split("\n").flatMap((line) => {
      const [, network, containerId] = comment.exec(line) ?? [];
      return containerId === undefined ? [] : [{ network, containerId }];
    }),
  );
}

/** The owners that a listing of nftables' table of masquerading names. */
export function masqueradeRuleOwners(listed: string): RuleOwner[] {
  const comment = / comment "[0-9a-f]{16}-[0-9a-f]{16}, net: ([^,"]+), if: [^,"]+, id: ([^"]+)"/;
  return distinct(
    listed.split("\n").flatMap((line) => {
      const [, network, containerId] = comment.exec(line) ?? [];
      return containerId === undefined ? [] : [{ network, containerId }];
    }),
  );
}

/** The owners that a listing of nftables' table of host ports names, by their ids alone. */
export function hostPortRuleOwners(listed: string): RuleOwner[] {
  return distinct(
    listed.split("\n").flatMap((line) => {
      const [, containerId] = /^\t\t.* comment "([^"]+)"/.exec(line) ?? [];
      return containerId === undefined ? [] : [{ network: undefined, containerId }];
    }),
  );
}

function distinct(owners: readonly RuleOwner[]): RuleOwner[] {
  return [...new Map(owners.map((one) => [`${one.network} ${one.containerId}`, one])).values()];
}
