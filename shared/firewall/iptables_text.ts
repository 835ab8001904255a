import { linesIn } from "./listing.ts";
import type { IptablesRules, SharedRules } from "./ruleset.ts";

/** Lines of iptables-restore's input, and what iptables-save says. Pure. */

/** A word as iptables-restore takes quotes and backslashes. */
export function quoted(word: string): string {
  if (/^[a-zA-Z0-9_./:,!=-]+$/.test(word)) return word;
  return `"${word.replaceAll(/["\\]/g, (character) => `\\${character}`)}"`;
}

/** Lines that make an owner's rules. */
export function addLines({ chain, rules }: IptablesRules): string[] {
  return [newChain(chain), ...rules.map((chainRule) => `-A ${chainRule.chain} ${chainRule.rule}`)];
}

/** Lines that remove just what {@link addLines} makes. */
export function removeLines({ chain, rules }: IptablesRules): string[] {
  return [
    newChain(chain),
    ...rules
      .filter((chainRule) => chainRule.chain !== chain)
      .map((chainRule) => `-D ${chainRule.chain} ${chainRule.rule}`),
    `-X ${chain}`,
  ];
}

/**
 * Lines that remove what a listing has of an owner, also of earlier versions.
 * @returns none where there is nothing of it.
 */
export function removeListedLines({ chain, oldChains }: IptablesRules, saved: string): string[] {
  const lines = saved.split("\n");
  return [chain, ...oldChains].flatMap((ownerChain) => {
    const jumps = lines.filter(
      (line) => line.startsWith("-A ") && line.endsWith(` -j ${ownerChain}`),
    );
    if (jumps.length === 0 && !lines.some((line) => line.startsWith(`:${ownerChain} `))) return [];
    return [
      newChain(ownerChain),
      ...jumps.map((line) => line.replace("-A ", "-D ")),
      `-X ${ownerChain}`,
    ];
  });
}

/** Lines that see whether the rules are there: `-C` fails on one that is not. */
export function checkLines({ rules, shared }: IptablesRules): string[] {
  return [...shared.rules, ...rules].map(({ chain, rule }) => `-C ${chain} ${rule}`);
}

/** Lines that see whether the shared rules are there. */
export function checkSharedLines({ rules }: SharedRules): string[] {
  return rules.map(({ chain, rule }) => `-C ${chain} ${rule}`);
}

/** Lines that make those shared chains and rules that a listing lacks. */
export function missingSharedLines({ chains, rules }: SharedRules, saved: string): string[] {
  const has = linesIn(saved);
  return [
    // Only those that are not there: naming a chain empties it.
    ...chains.filter((chain) => !isListed(chain, saved)).map(newChain),
    ...rules
      .filter(({ chain, rule }) => !has.has(`-A ${chain} ${rule}`))
      .map(({ chain, rule, first }) => `${first === true ? "-I" : "-A"} ${chain} ${rule}`),
  ];
}

/** Lines that make what a listing lacks of an owner's rules, and leave what it has. */
export function missingLines({ chain, rules }: IptablesRules, saved: string): string[] {
  return missingSharedLines({ chains: [chain], rules }, saved);
}

/** The first rule of an owner's chain that a listing lacks. */
export function unlistedRule({ chain, rules }: IptablesRules, saved: string): string | undefined {
  const has = linesIn(saved);
  return rules
    .filter((chainRule) => chainRule.chain === chain)
    .map((chainRule) => `${chain} ${chainRule.rule}`)
    .find((rule) => !has.has(`-A ${rule}`));
}

/** Whether a listing has a chain. */
export function isListed(chain: string, saved: string): boolean {
  return saved.includes(`\n:${chain} `) || saved.startsWith(`:${chain} `);
}

/** Lines as one transaction on a table. */
export function transaction(table: string, lines: readonly string[]): string {
  return [`*${table}`, ...lines, "COMMIT", ""].join("\n");
}

/** Makes a chain; one that is there is emptied, which deleting it asks for. */
function newChain(chain: string): string {
  return `:${chain} - [0:0]`;
}
