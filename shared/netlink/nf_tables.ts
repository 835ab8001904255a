import type { Family } from "../net/address.ts";
import type { Sys } from "../runtime/sys.ts";
import { elements, attributes, Flag, nested, readString } from "./codec.ts";
import type { Message, Received } from "./codec.ts";
import { check, NetlinkSocket, openIfThere, understood } from "./socket.ts";

/**
 * Reads nf_tables' chains and rules from the kernel (linux/netfilter/nf_tables.h), those of iptables-nft
 * included. That takes some ten microseconds, and no process.
 */
const NETLINK_NETFILTER = 12;
const NFNL_SUBSYS_NFTABLES = 10;
const NFT_MSG_GETCHAIN = 4;
const NFT_MSG_GETRULE = 7;
const NFT_MSG_GETGEN = 16;
const NFTA_GEN_ID = 1;
const NFTA_CHAIN_TABLE = 1;
const NFTA_CHAIN_NAME = 3;
const NFTA_RULE_TABLE = 1;
const NFTA_RULE_CHAIN = 2;
const NFTA_RULE_HANDLE = 3;
const NFTA_RULE_EXPRESSIONS = 4;
const NFTA_RULE_USERDATA = 7;
const NFTA_EXPR_NAME = 1;
const NFTA_EXPR_DATA = 2;
/** Bytes of struct nfgenmsg, which every message of netfilter begins with. */
const NFGENMSG = 4;
const AF_INET = 2;
const AF_INET6 = 10;
const EPROTONOSUPPORT = 93;
/** Errnos for something that does not exist, or that this kernel does not support. */
const absent = [2, 22, EPROTONOSUPPORT, 95];

/** A rule of nf_tables. */
export interface NfRule {
  readonly handle: bigint;
  /** The rule's comment, as nft shows it. */
  readonly comment: string | undefined;
  /** Its expressions (what it matches and does), as a list of attributes. */
  readonly expressions: Buffer;
  /** Whether the rule names a chain, as a rule that jumps to it does. */
  names(chain: string): boolean;
}

/** The families of nf_tables' tables. */
export type NfFamily = Family | "bridge" | "inet";

/** A socket to netfilter. */
export type NetfilterSocket = Pick<
  NetlinkSocket,
  "transact" | "commit" | "dump" | "close" | "closeLater"
>;

/** Of a kernel whose only firewall is iptables-legacy. */
const noNetfilter: NetfilterSocket = {
  transact: (messages) => messages.map(() => ({ errno: EPROTONOSUPPORT, text: "", received: [] })),
  commit: () => EPROTONOSUPPORT,
  dump: () => [],
  close: () => {},
  closeLater: () => {},
};

/**
 * Opens a socket to netfilter. Where the kernel has none, all that is looked for is absent, and every change is
 * refused.
 * @throws Failure kernel
 */
export function netfilterSocket(sys: Sys): NetfilterSocket {
  const fd = openIfThere(sys, NETLINK_NETFILTER);
  if (fd === -EPROTONOSUPPORT) return noNetfilter;
  return new NetlinkSocket(sys, check(fd, "open a socket to netfilter"));
}

/** The header of netfilter's messages: family, version 0, no resource. */
export function nfgenmsg(family: NfFamily): Buffer {
  const NFPROTO = { 4: AF_INET, 6: AF_INET6, bridge: 7, inet: 1 };
  return Buffer.of(NFPROTO[family], 0, 0, 0);
}

/**
 * The number of the last change of nf_tables' rules; undefined if the kernel does not tell.
 * @throws Failure kernel
 */
export function generation(socket: NetfilterSocket): number | undefined {
  const [reply] = socket.transact([request(NFT_MSG_GETGEN, 0, 4, [])]);
  const [message] = reply?.received ?? [];
  if (message === undefined) return undefined;
  return understood("its rules", () =>
    attributes(message.body, NFGENMSG).get(NFTA_GEN_ID)?.readUInt32BE(0),
  );
}

/** Whether a table of a family has a chain. @throws Failure kernel */
export function hasChain(
  socket: NetfilterSocket,
  family: NfFamily,
  table: string,
  chain: string,
): boolean {
  const [reply] = socket.transact([
    request(NFT_MSG_GETCHAIN, 0, family, [
      [NFTA_CHAIN_TABLE, table],
      [NFTA_CHAIN_NAME, chain],
    ]),
  ]);
  // A kernel without nf_tables has no such chain.
  return reply?.errno === 0;
}

/**
 * The rules of a chain; none if there is no such chain.
 * @param having what the wanted rules contain: a comment, a chain's name, or any bytes. A chain may have
 *   thousands of other rules, which then cost hardly anything.
 * @throws Failure kernel
 */
export function listRules(
  socket: NetfilterSocket,
  family: NfFamily,
  table: string,
  chain: string,
  having?: string | Buffer,
): NfRule[] {
  const message = request(NFT_MSG_GETRULE, Flag.DUMP, family, [
    [NFTA_RULE_TABLE, table],
    [NFTA_RULE_CHAIN, chain],
  ]);
  const bytes = typeof having === "string" ? Buffer.from(having) : having;
  const found = socket.dump(message, absent, bytes);
  return understood("its rules", () =>
    found.flatMap((received) => readRule(received, table, chain)),
  );
}

/** None if it is that of another chain. */
function readRule({ body }: Received, table: string, chain: string): NfRule[] {
  const attrs = attributes(body, NFGENMSG);
  const handle = attrs.get(NFTA_RULE_HANDLE);
  // Kernels that do not filter dumps answer with the rules of every chain.
  const isOf = attrs.get(NFTA_RULE_TABLE)?.equals(terminated(table)) === true;
  if (
    handle === undefined ||
    !isOf ||
    attrs.get(NFTA_RULE_CHAIN)?.equals(terminated(chain)) !== true
  ) {
    return [];
  }
  const expressions = attrs.get(NFTA_RULE_EXPRESSIONS) ?? Buffer.alloc(0);
  return [
    {
      handle: handle.readBigUInt64BE(0),
      comment: commentOf(attrs.get(NFTA_RULE_USERDATA)),
      expressions,
      names: (chainName: string) => expressions.includes(terminated(chainName)),
    },
  ];
}

/** The rule of a chain with a handle, if there is one. @throws Failure kernel */
export function ruleByHandle(
  socket: NetfilterSocket,
  family: NfFamily,
  table: string,
  chain: string,
  handle: bigint,
): NfRule | undefined {
  const number = Buffer.alloc(8);
  number.writeBigUInt64BE(handle);
  const message = request(NFT_MSG_GETRULE, 0, family, [
    [NFTA_RULE_TABLE, table],
    [NFTA_RULE_CHAIN, chain],
  ]);
  const body = Buffer.concat([message.body, nested(NFTA_RULE_HANDLE, number, false)]);
  const [reply] = socket.transact([{ ...message, body }]);
  const [found] = reply?.received ?? [];
  return found && understood("its rules", () => readRule(found, table, chain)[0]);
}

/** The handle of a rule that a message is about. */
export function handleOf(body: Buffer): bigint | undefined {
  return attributes(body, NFGENMSG).get(NFTA_RULE_HANDLE)?.readBigUInt64BE(0);
}

/** A rule's expressions, each a kind and its data. */
export function expressionsOf(expressions: Buffer): { kind: string; data: Buffer }[] {
  return elements(expressions).map((element) => {
    const found = attributes(element, 0);
    return {
      kind: readString(found.get(NFTA_EXPR_NAME) ?? Buffer.alloc(0)),
      data: found.get(NFTA_EXPR_DATA) ?? Buffer.alloc(0),
    };
  });
}

/** A rule's expressions without counters. Equal rules have equal states. */
export function stateOf(expressions: Buffer): string {
  const parts = expressionsOf(expressions)
    .filter(({ kind }) => kind !== "counter")
    .map(({ kind, data }) => `${kind} ${data.toString("base64")}`);
  return parts.join(" ");
}

/** A rule's comment: the first of nft's own type-length-value triples in its user data. */
function commentOf(userdata: Buffer | undefined): string | undefined {
  const COMMENT = 0;
  if (userdata === undefined) return undefined;
  for (let at = 0; at + 2 <= userdata.length; ) {
    const length = userdata[at + 1] ?? 0;
    if (userdata[at] === COMMENT) return readString(userdata.subarray(at + 2, at + 2 + length));
    at += 2 + length;
  }
  return undefined;
}

/** A name as nf_tables has it: it ends with a NUL byte. */
export function terminated(value: string): Buffer {
  return Buffer.from(`${value}\0`);
}

/** A request to nf_tables, with attributes that are names. */
export function request(
  type: number,
  flags: number,
  family: NfFamily,
  attrs: readonly (readonly [number, string])[],
): Message {
  const parts = attrs.map(([name, value]) => nested(name, terminated(value), false));
  return {
    type: (NFNL_SUBSYS_NFTABLES << 8) | type,
    flags,
    body: Buffer.concat([nfgenmsg(family), ...parts]),
  };
}
