import { parseAddress } from "../../../shared/net/address.ts";
import type { Address } from "../../../shared/net/address.ts";
import { contains, parseCidr } from "../../../shared/net/cidr.ts";
import { NetError } from "../../../shared/net/error.ts";
import { every, matchLink, not } from "./walk.ts";
import type { Action, Match, Packet, Rule, Ruleset } from "./walk.ts";

/** Marks that kube-proxy gives to packets of services. Other packets of pods do not have them. */
const kubernetesMarks: ReadonlySet<string> = new Set(["0x4000/0x4000", "0x8000/0x8000"]);

/** Targets after which a packet goes on with the next rule. */
const passing: ReadonlySet<string> = new Set([
  ...["MARK", "CONNMARK", "LOG", "NFLOG", "ULOG", "TCPMSS", "TRACE", "CT", "NOTRACK", "CLASSIFY"],
  ...["DSCP", "TOS", "TTL", "HL", "SET", "CHECKSUM", "SECMARK", "CONNSECMARK", "AUDIT", "RATEEST"],
]);

const targets: Readonly<Record<string, Action>> = {
  ACCEPT: { kind: "accept" },
  DROP: { kind: "drop" },
  REJECT: { kind: "drop" },
  RETURN: { kind: "return" },
  QUEUE: { kind: "unknown" },
  NFQUEUE: { kind: "unknown" },
  MASQUERADE: { kind: "masquerade" },
  SNAT: { kind: "masquerade" },
  NETMAP: { kind: "masquerade" },
};

/**
 * A base chain of a table as iptables-save lists it.
 * @returns undefined where the listing has no such chain.
 */
export function iptablesRuleset(saved: string, base: string): Ruleset | undefined {
  const lines = saved.split("\n");
  const policy = lines.find((line) => line.startsWith(`:${base} `))?.split(" ")[1];
  if (policy === undefined) return undefined;
  const byChain = Map.groupBy(
    lines.filter((line) => line.startsWith("-A ")),
    (line) => line.split(" ", 2)[1] ?? "",
  );
  const parsed = new Map<string, readonly Rule[]>();
  return {
    base,
    policy: policy === "DROP" ? "drop" : "accept",
    rules(chain) {
      const known = parsed.get(chain) ?? (byChain.get(chain) ?? []).map(readRule);
      parsed.set(chain, known);
      return known;
    },
  };
}

function readRule(line: string): Rule {
  const words = wordsOf(line);
  const conditions: ((packet: Packet) => Match)[] = [];
  let action: Action = { kind: "continue" };
  let isNegated = false;
  // The first two are "-A" and the chain.
  for (let at = 2; at < words.length; at++) {
    const option = words[at] ?? "";
    const value = words[at + 1] ?? "";
    if (option === "!") {
      isNegated = true;
      continue;
    }
    if (option === "-j" || option === "-g") {
      action = actionOf(option, value);
      // What follows is the target's.
      break;
    }
    const condition = conditionOf(option, value);
    if (condition !== undefined) {
      const wanted = isNegated;
      conditions.push((packet) => (wanted ? not(condition(packet)) : condition(packet)));
    }
    isNegated = false;
    if (!value.startsWith("-") && value !== "!") at++;
  }
  return {
    match: (packet) => every(conditions.map((condition) => condition(packet))),
    action,
    text: line,
  };
}

function actionOf(option: string, target: string): Action {
  const known = Object.hasOwn(targets, target) ? targets[target] : undefined;
  if (known !== undefined) return known;
  if (passing.has(target)) return { kind: "continue" };
  // Other names in capitals may be targets of the kernel or user-defined chains.
  return { kind: option === "-g" ? "goto" : "jump", chain: target };
}

/** @returns undefined if it is not a condition. */
function conditionOf(option: string, value: string): ((packet: Packet) => Match) | undefined {
  switch (option) {
    case "-m":
    case "--comment":
      return undefined;
    case "-i":
      return (packet) => matchLink(value, packet.in, "+");
    case "-o":
      return (packet) => matchLink(value, packet.out, "+");
    case "-s":
      return ({ src }) => inNetwork(value, src);
    case "-d":
      return ({ dst }) => inNetwork(value, dst);
    case "-p":
      return () => protocol(value);
    case "--ctstate":
    case "--state":
      return () => (value.split(",").includes("NEW") ? "yes" : "no");
    case "--mark":
      return () => (kubernetesMarks.has(value) ? "no" : "maybe");
    case "--src-type":
      return () => (value === "LOCAL" ? "no" : "maybe");
    case "--dst-type":
      return ({ isToNode }) => addressType(value.toLowerCase(), isToNode === true);
    default:
      return () => "maybe";
  }
}

/** Whether a packet of TCP or UDP is of a protocol, or of all of them. */
export function protocol(value: string): Match {
  if (value === "all") return "yes";
  return value === "tcp" || value === "udp" ? "maybe" : "no";
}

/** Whether a destination is of a type, as "local". */
export function addressType(type: string, isToNode: boolean): Match {
  if (type !== "local") return "maybe";
  return isToNode ? "yes" : "no";
}

/** Whether an address is in a network, as "10.244.0.0/16". */
export function inNetwork(network: string, address: Address): Match {
  try {
    const subnet = network.includes("/") ? parseCidr(network) : undefined;
    const single = subnet === undefined ? parseAddress(network) : undefined;
    const isIn =
      subnet === undefined
        ? single?.family === address.family && single.value === address.value
        : contains(subnet, address);
    return isIn ? "yes" : "no";
  } catch (error) {
    if (error instanceof NetError) return "maybe";
    throw error;
  }
}

/** The words of a line, as iptables-save quotes them. */
function wordsOf(line: string): string[] {
  return Array.from(line.matchAll(/"((?:[^"\\]|\\.)*)"|(\S+)/g), ([, quoted, plain]) =>
    quoted === undefined ? (plain ?? "") : quoted.replaceAll(/\\(.)/g, "$1"),
  );
}
