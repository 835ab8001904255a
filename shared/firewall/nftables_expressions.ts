import type { Family } from "../net/address.ts";
import type { NfAnonymousSet, NfRuleContent } from "../netlink/nf_batch.ts";
import { u32 } from "../netlink/codec.ts";
import {
  bitwise,
  compare,
  destinationNat,
  Header,
  lookup,
  masquerade,
  Meta,
  meta,
  NatFlag,
  payload,
  setMeta,
  Verdict,
  verdict,
} from "../netlink/nf_expression.ts";
import type { NfFamily } from "../netlink/nf_tables.ts";
import {
  endpointIn,
  hexNumberIn,
  loadDestinationPort,
  matchAddress,
  matchDestinationPort,
  portBytes,
  portIn,
  protocolNumbers,
  wordsOf,
} from "./rule_words.ts";

/**
 * Rules as nft lists them, as nft itself encodes them. Pure. Rules with any other word have no
 * encoding here, and are left to nft.
 */

/** nft's number of the type of ports (inet_service). */
const portType = 13;
/** nft gives a set without a name of its own this one; the kernel puts a number in. */
const anonymousSet = "__set%d";
/** Bytes of a link's name in the kernel. */
const linkNameBytes = 16;
const networkFamilies = { 4: 2, 6: 10 } as const;

/**
 * What a rule has in nf_tables; undefined for one with words that are not known here.
 * @param nextSet numbers the sets of a transaction.
 */
export function nftablesRuleContent(
  rule: string,
  family: NfFamily,
  nextSet: () => number,
): NfRuleContent | undefined {
  const words = wordsOf(rule);
  return words === undefined ? undefined : new RuleReader(words, family, nextSet).read();
}

class RuleReader {
  readonly #words: readonly string[];
  readonly #family: NfFamily;
  readonly #nextSet: () => number;
  readonly #expressions: Buffer[] = [];
  readonly #sets: NfAnonymousSet[] = [];
  #at = 0;
  /** What was compared already, which nft does not compare again. */
  #network: Family | undefined;
  #protocol: number | undefined;

  constructor(words: readonly string[], family: NfFamily, nextSet: () => number) {
    this.#words = words;
    this.#family = family;
    this.#nextSet = nextSet;
  }

  read(): NfRuleContent | undefined {
    while (this.#at < this.#words.length) {
      const found = this.#statement(this.#next() ?? "");
      if (found === undefined) return undefined;
      this.#expressions.push(...found);
    }
    return { expressions: this.#expressions, sets: this.#sets };
  }

  #next(): string | undefined {
    return this.#words[this.#at++];
  }

  #skip(...words: readonly string[]): boolean {
    if (!words.every((word, at) => this.#words[this.#at + at] === word)) return false;
    this.#at += words.length;
    return true;
  }

  #statement(word: string): Buffer[] | undefined {
    switch (word) {
      case "ip":
        return this.#address(4);
      case "ip6":
        return this.#address(6);
      case "tcp":
      case "udp":
      case "sctp":
        return this.#destinationPort(word);
      case "meta":
        return this.#mark();
      case "iifname":
        return this.#inputLink();
      case "ether":
        return this.#sourceMac();
      case "dnat":
        return this.#destinationNat();
      case "masquerade":
        return [masquerade(this.#skip("fully-random") ? NatFlag.fullyRandom : 0)];
      case "accept":
      case "drop":
      case "return":
        return [verdict(Verdict[word])];
      case "jump":
      case "goto": {
        const chain = this.#next();
        return chain === undefined ? undefined : [verdict(Verdict[word], chain)];
      }
      default:
        return undefined;
    }
  }

  #address(family: Family): Buffer[] | undefined {
    const end = this.#skip("saddr") ? "source" : this.#skip("daddr") ? "destination" : undefined;
    if (end === undefined) return undefined;
    const isInverted = this.#skip("!=");
    const match = matchAddress(this.#next() ?? "", end, family, isInverted);
    if (match === undefined) return undefined;
    if (this.#family === family) return match;
    // In a table of both families, the packet's comes first.
    if (this.#family !== "inet") return undefined;
    const isKnown = this.#network === family;
    this.#network = family;
    if (isKnown) return match;
    return [meta(Meta.nfproto), compare(Buffer.of(networkFamilies[family])), ...match];
  }

  #destinationPort(name: string): Buffer[] | undefined {
    const protocol = protocolNumbers.get(name);
    if (protocol === undefined || this.#protocol !== undefined || !this.#skip("dport")) {
      return undefined;
    }
    this.#protocol = protocol;
    const ports = this.#ports();
    if (ports === undefined) return undefined;
    const ofProtocol = [meta(Meta.l4proto), compare(Buffer.of(protocol))];
    const [only, ...more] = ports;
    if (only !== undefined && more.length === 0) {
      return [...ofProtocol, ...matchDestinationPort(only)];
    }
    const set = {
      id: this.#nextSet(),
      name: anonymousSet,
      keyType: portType,
      values: ports.map(portBytes),
    };
    this.#sets.push(set);
    return [...ofProtocol, loadDestinationPort(), lookup(set.name, set.id)];
  }

  /** One port, or some in braces. */
  #ports(): number[] | undefined {
    const first = this.#next();
    if (first !== "{") {
      const port = portIn(first);
      return port === undefined ? undefined : [port];
    }
    const ports: number[] = [];
    for (;;) {
      const word = this.#next() ?? "";
      if (word === "}") return ports.length > 1 ? ports : undefined;
      const port = portIn(word.replace(/,$/, ""));
      if (port === undefined) return undefined;
      ports.push(port);
    }
  }

  /** Sets bits of the packet's mark, or compares them. */
  #mark(): Buffer[] | undefined {
    if (this.#skip("mark", "set", "meta", "mark", "|")) {
      const bits = hexNumberIn(this.#next());
      if (bits === undefined) return undefined;
      return [meta(Meta.mark), bitwise(u32(~bits >>> 0), u32(bits)), setMeta(Meta.mark)];
    }
    if (!this.#skip("mark", "&")) return undefined;
    const mask = hexNumberIn(this.#next());
    const value = this.#skip("==") ? hexNumberIn(this.#next()) : undefined;
    return mask === undefined || value === undefined ? undefined : compareMark(value, mask);
  }

  #inputLink(): Buffer[] | undefined {
    const name = Buffer.from(this.#next() ?? "");
    // "*" is any end of a name.
    if (name.length === 0 || name.length >= linkNameBytes || name.includes("*")) return undefined;
    return [
      meta(Meta.iifname),
      compare(Buffer.concat([name, Buffer.alloc(linkNameBytes - name.length)])),
    ];
  }

  #sourceMac(): Buffer[] | undefined {
    if (this.#family !== "bridge" || !this.#skip("saddr")) return undefined;
    const mac = this.#next() ?? "";
    if (!/^(?:[0-9a-f]{2}:){5}[0-9a-f]{2}$/.test(mac)) return undefined;
    return [payload(Header.link, 6, 6), compare(Buffer.from(mac.replaceAll(":", ""), "hex"))];
  }

  #destinationNat(): Buffer[] | undefined {
    const family = this.#family;
    if ((family !== 4 && family !== 6) || !this.#skip("to")) return undefined;
    const to = endpointIn(this.#next(), family);
    if (to === undefined) return undefined;
    return destinationNat(networkFamilies[family], to.address, portBytes(to.port));
  }
}

function compareMark(value: number, mask: number): Buffer[] {
  return [meta(Meta.mark), bitwise(u32(mask), Buffer.alloc(4)), compare(u32(value))];
}
