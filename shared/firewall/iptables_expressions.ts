import type { Family } from "../net/address.ts";
import type { NfRuleContent } from "../netlink/nf_batch.ts";
import {
  compare,
  counter,
  Meta,
  meta,
  Verdict,
  verdict,
  xtMatch,
  xtTarget,
} from "../netlink/nf_expression.ts";
import { u16, u32 } from "../netlink/codec.ts";
import {
  endpointIn,
  hexNumberIn,
  matchAddress,
  portBytes,
  portIn,
  protocolNumbers,
  wordsOf,
} from "./rule_words.ts";

/**
 * Rules as iptables-save writes them, in the encoding of iptables-nft before 1.8.8, which every version
 * reads: addresses, links and protocols are expressions of nf_tables, the rest are matches and targets
 * of x_tables. (Later versions have expressions for ports and marks too. To earlier ones a rule with
 * those is another rule.) Pure. A rule with any other word has no encoding here: the tools write it.
 */

/** RTN_LOCAL as a bit. */
const localAddress = 1 << 2;
/** What multiport takes at the most. */
const multiportMax = 15;
const multiportDestination = 1;
/** Bytes of a comment in iptables. Of one as long as that, the tools put a NUL byte for the last. */
const commentBytes = 256;
/**
 * struct xt_sctp_info: two destination ports, two source ports, chunks, four chunks' flags, then what is
 * looked at.
 */
const sctpBytes = 292;
const sctpFlagInfo = 268;
const sctpFlags = 284;
const sctpDestinationPorts = 2;

/** What a rule has in nf_tables; undefined for one with words that are not known here. */
export function iptablesRuleContent(rule: string, family: Family): NfRuleContent | undefined {
  const words = wordsOf(rule);
  if (words === undefined) return undefined;
  const reader = new RuleReader(words, family);
  return reader.read();
}

/** A rule's parts in the order in which iptables-nft has them, whatever theirs in the text. */
class RuleReader {
  readonly #words: readonly string[];
  readonly #family: Family;
  #at = 0;
  #protocol: number | undefined;
  #link: Buffer[] = [];
  #source: Buffer[] = [];
  #destination: Buffer[] = [];
  readonly #matches: Buffer[] = [];
  #target: Buffer | undefined;

  constructor(words: readonly string[], family: Family) {
    this.#words = words;
    this.#family = family;
  }

  read(): NfRuleContent | undefined {
    while (this.#at < this.#words.length) {
      if (this.#target !== undefined || !this.#readPart()) return undefined;
    }
    if (this.#target === undefined) return undefined;
    const protocol = this.#protocol;
    const ofProtocol =
      protocol === undefined ? [] : [meta(Meta.l4proto), compare(Buffer.of(protocol))];
    return {
      expressions: [
        ...this.#link,
        ...ofProtocol,
        ...this.#source,
        ...this.#destination,
        ...this.#matches,
        counter(),
        this.#target,
      ],
      protocol,
    };
  }

  #next(): string | undefined {
    return this.#words[this.#at++];
  }

  #skip(...words: readonly string[]): boolean {
    if (!words.every((word, at) => this.#words[this.#at + at] === word)) return false;
    this.#at += words.length;
    return true;
  }

  #readPart(): boolean {
    const isInverted = this.#skip("!");
    const option = this.#next();
    if (option === "-s" || option === "-d") return this.#readAddress(option, isInverted);
    if (isInverted) return false;
    if (option === "-i") return this.#readLink();
    if (option === "-p") return this.#readProtocol();
    if (option === "-m") return this.#readMatch();
    if (option === "-j") return this.#readTarget();
    return false;
  }

  #readAddress(option: "-s" | "-d", isInverted: boolean): boolean {
    const end = option === "-s" ? "source" : "destination";
    const found = matchAddress(this.#next() ?? "", end, this.#family, isInverted);
    if (found === undefined) return false;
    if (option === "-s") this.#source = found;
    else this.#destination = found;
    return true;
  }

  #readLink(): boolean {
    const name = this.#next() ?? "";
    // "+" is any end of a name.
    if (name === "" || name.endsWith("+")) return false;
    this.#link = [meta(Meta.iifname), compare(Buffer.from(`${name}\0`))];
    return true;
  }

  #readProtocol(): boolean {
    this.#protocol = protocolNumbers.get(this.#next() ?? "");
    return this.#protocol !== undefined;
  }

  #readMatch(): boolean {
    const found = this.#matchOf(this.#next());
    this.#matches.push(...(found ?? []));
    return found !== undefined;
  }

  #matchOf(name: string | undefined): Buffer[] | undefined {
    switch (name) {
      case "comment":
        return this.#comment();
      case "addrtype":
        return this.#skip("--dst-type", "LOCAL")
          ? [xtMatch("addrtype", 1, Buffer.concat([u16(0), u16(localAddress), u32(0)]))]
          : undefined;
      case "multiport":
        return this.#multiport();
      case "mark":
        return this.#mark();
      case "tcp":
      case "udp":
      case "sctp":
        return this.#destinationPort(name);
      default:
        return undefined;
    }
  }

  #comment(): Buffer[] | undefined {
    const comment = Buffer.from(this.#skip("--comment") ? (this.#next() ?? "") : "");
    if (comment.length === 0 || comment.length > commentBytes) return undefined;
    const info = Buffer.alloc(commentBytes);
    comment.copy(info, 0, 0, commentBytes - 1);
    return [xtMatch("comment", 0, info)];
  }

  /** struct xt_multiport_v1: flags, count, 15 ports, 15 flags of ports, whether it is inverted. */
  #multiport(): Buffer[] | undefined {
    if (!this.#skip("--dports")) return undefined;
    const ports = (this.#next() ?? "").split(",").map(portIn);
    const info = Buffer.alloc(2 + multiportMax * 3 + 1);
    info[0] = multiportDestination;
    info[1] = ports.length;
    for (const [at, port] of ports.entries()) {
      if (port === undefined || at >= multiportMax) return undefined;
      u16(port).copy(info, 2 + at * 2);
    }
    return [xtMatch("multiport", 1, info)];
  }

  #mark(): Buffer[] | undefined {
    if (!this.#skip("--mark")) return undefined;
    const [value, mask, ...rest] = (this.#next() ?? "").split("/").map(hexNumberIn);
    if (value === undefined || mask === undefined || rest.length > 0) return undefined;
    // struct xt_mark_mtinfo1: value, mask, whether it is inverted.
    return [xtMatch("mark", 1, Buffer.concat([u32(value), u32(mask), Buffer.alloc(4)]))];
  }

  #destinationPort(protocol: string): Buffer[] | undefined {
    if (protocolNumbers.get(protocol) !== this.#protocol) return undefined;
    const port = this.#skip("--dport") ? portIn(this.#next()) : undefined;
    if (port === undefined) return undefined;
    const ports = Buffer.concat([u16(port), u16(port)]);
    if (protocol !== "sctp") {
      // struct xt_tcp and struct xt_udp: source ports, destination ports, then flags.
      const flags = Buffer.alloc(protocol === "tcp" ? 4 : 2);
      return [xtMatch(protocol, 0, Buffer.concat([u16(0), u16(65_535), ports, flags]))];
    }
    const info = Buffer.alloc(sctpBytes);
    ports.copy(info);
    for (let chunk = 0; chunk < 4; chunk++) info[sctpFlagInfo + chunk * 3] = 0xff;
    u32(sctpDestinationPorts).copy(info, sctpFlags);
    return [xtMatch("sctp", 0, info)];
  }

  #readTarget(): boolean {
    this.#target = this.#targetOf(this.#next() ?? "");
    return this.#target !== undefined;
  }

  #targetOf(name: string): Buffer | undefined {
    switch (name) {
      case "ACCEPT":
        return verdict(Verdict.accept);
      case "DROP":
        return verdict(Verdict.drop);
      case "RETURN":
        return verdict(Verdict.return);
      case "MASQUERADE":
        return masqueradeTarget(this.#family, this.#skip("--random-fully"));
      case "MARK":
        return this.#markTarget();
      case "DNAT":
        return this.#dnatTarget();
      default:
        // Any other name may be a target of x_tables, unless it is a chain by its name.
        return /^(?:CNI|KUBE|FLANNEL)-/.test(name) ? verdict(Verdict.jump, name) : undefined;
    }
  }

  /** struct xt_mark_tginfo2: which bits are set, and which are cleared before. */
  #markTarget(): Buffer | undefined {
    if (!this.#skip("--set-xmark")) return undefined;
    const [value, mask, ...rest] = (this.#next() ?? "").split("/").map(hexNumberIn);
    if (value === undefined || mask === undefined || rest.length > 0) return undefined;
    return xtTarget("MARK", 2, Buffer.concat([u32(value), u32(mask)]));
  }

  /** struct nf_nat_range2: flags, two addresses, two ports, a base port. */
  #dnatTarget(): Buffer | undefined {
    const to = this.#skip("--to-destination") ? endpointIn(this.#next(), this.#family) : undefined;
    if (to === undefined) return undefined;
    const address = Buffer.concat([to.address, Buffer.alloc(16 - to.address.length)]);
    const port = portBytes(to.port);
    const info = Buffer.concat([u32(3), address, address, port, port, Buffer.alloc(4)]);
    return xtTarget("DNAT", 2, info);
  }
}

const randomFully = 16;

/** struct nf_nat_ipv4_multi_range_compat: a count, flags, addresses, ports; or struct nf_nat_range. */
function masqueradeTarget(family: Family, isRandom: boolean): Buffer {
  const flags = u32(isRandom ? randomFully : 0);
  const info =
    family === 4
      ? Buffer.concat([u32(1), flags, Buffer.alloc(12)])
      : Buffer.concat([flags, Buffer.alloc(36)]);
  return xtTarget("MASQUERADE", 0, info);
}
