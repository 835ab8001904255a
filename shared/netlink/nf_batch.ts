import type { Message } from "./codec.ts";
import { Flag } from "./codec.ts";
import { attribute, be32, dataValue } from "./nf_expression.ts";
import { handleOf, nfgenmsg, terminated } from "./nf_tables.ts";
import type { NetfilterSocket, NfFamily } from "./nf_tables.ts";

/**
 * Changes nf_tables' rules in one transaction (linux/netfilter/nf_tables.h, nfnetlink.h): all of it or
 * nothing, with no process.
 */
const NFNL_SUBSYS_NFTABLES = 10;
const NFNL_MSG_BATCH_BEGIN = 0x10;
const NFNL_MSG_BATCH_END = 0x11;
const NFT_MSG_NEWCHAIN = 3;
const NFT_MSG_DELCHAIN = 5;
const NFT_MSG_NEWRULE = 6;
const NFT_MSG_DELRULE = 8;
const NFT_MSG_NEWSET = 9;
const NFT_MSG_NEWSETELEM = 12;
/** The kernel repeats the message with the handle that it has given. */
const NLM_F_ECHO = 8;
/** The rule goes behind those that are there. */
const NLM_F_APPEND = 0x800;
const NFT_SET_ANONYMOUS_CONSTANT = 3;

/** A chain of a table, and what to change of it. */
export type NfChange = {
  readonly family: NfFamily;
  readonly table: string;
  readonly chain: string;
} & (
  | { readonly kind: "newChain" | "flushChain" | "deleteChain" }
  | { readonly kind: "deleteRule"; readonly handle: bigint }
  | { readonly kind: "newRule"; readonly rule: NfRuleContent }
);

/** What a rule is to have in it. */
export interface NfRuleContent {
  readonly expressions: readonly Buffer[];
  /** Sets that its expressions look in, by their numbers in the transaction. */
  readonly sets?: readonly NfAnonymousSet[];
  /** The protocol that it is for, which matches of x_tables want to know. */
  readonly protocol?: number | undefined;
  /** As nft shows it. */
  readonly comment?: string;
  /** Whether it goes before the rules that are there already. */
  readonly first?: boolean;
  /** Whether its handle is wanted. */
  readonly echo?: boolean;
}

/** A set that belongs to its rule: values of a type of nft's. */
export interface NfAnonymousSet {
  readonly id: number;
  readonly name: string;
  readonly keyType: number;
  readonly values: readonly Buffer[];
}

/**
 * Makes changes in one transaction. A chain that is to be made must not be there.
 * @param handles gets those of the rules that are to be echoed.
 * @returns 0, or the errno of the first change that the kernel refuses; then nothing is changed.
 * @throws Failure kernel when the kernel does not answer.
 */
export function commitChanges(
  socket: NetfilterSocket,
  changes: readonly NfChange[],
  handles: bigint[] = [],
): number {
  const messages = changes.flatMap(messagesOf);
  const [begin, end] = [batchMark(NFNL_MSG_BATCH_BEGIN), batchMark(NFNL_MSG_BATCH_END)];
  return socket.commit(begin, messages, end, (body) => {
    const handle = handleOf(body);
    if (handle !== undefined) handles.push(handle);
  });
}

function batchMark(type: number): Message {
  // struct nfgenmsg: no family, version 0, and which part of netfilter the batch is for.
  return { type, flags: 0, body: Buffer.of(0, 0, 0, NFNL_SUBSYS_NFTABLES) };
}

function messagesOf(change: NfChange): Message[] {
  const { family, chain } = change;
  const inTable = attribute(1, terminated(change.table));
  const message = (type: number, flags: number, ...attrs: readonly Buffer[]): Message => ({
    type: (NFNL_SUBSYS_NFTABLES << 8) | type,
    flags,
    body: Buffer.concat([nfgenmsg(family), inTable, ...attrs]),
  });
  switch (change.kind) {
    case "newChain":
      return [message(NFT_MSG_NEWCHAIN, Flag.CREATE | Flag.EXCL, attribute(3, terminated(chain)))];
    case "flushChain":
      return [message(NFT_MSG_DELRULE, 0, attribute(2, terminated(chain)))];
    case "deleteChain":
      return [message(NFT_MSG_DELCHAIN, 0, attribute(3, terminated(chain)))];
    case "deleteRule":
      return [
        message(
          NFT_MSG_DELRULE,
          0,
          attribute(2, terminated(chain)),
          attribute(3, be64(change.handle)),
        ),
      ];
    case "newRule": {
      const { expressions, sets = [], first, echo, ...rest } = change.rule;
      return [
        ...sets.flatMap((set) => [
          message(NFT_MSG_NEWSET, Flag.CREATE, ...setAttributes(set)),
          message(NFT_MSG_NEWSETELEM, Flag.CREATE, ...elementAttributes(set)),
        ]),
        message(
          NFT_MSG_NEWRULE,
          Flag.CREATE | (first === true ? 0 : NLM_F_APPEND) | (echo === true ? NLM_F_ECHO : 0),
          attribute(2, terminated(chain)),
          attribute(4, Buffer.concat(expressions)),
          ...ruleAttributes(rest),
        ),
      ];
    }
  }
}

function ruleAttributes({ protocol, comment }: Pick<NfRuleContent, "protocol" | "comment">) {
  return [
    ...(protocol === undefined
      ? []
      : [attribute(5, Buffer.concat([attribute(1, be32(protocol)), attribute(2, be32(0))]))]),
    ...(comment === undefined ? [] : [attribute(7, commentData(comment))]),
  ];
}

/** nft's own type-length-value of a comment. */
function commentData(comment: string): Buffer {
  const bytes = terminated(comment);
  return Buffer.concat([Buffer.of(0, bytes.length), bytes]);
}

function setAttributes({ id, name, keyType, values }: NfAnonymousSet): Buffer[] {
  const length = values[0]?.length ?? 0;
  // nft's own: the keys' byte order is the network's.
  const byteOrder = Buffer.of(0, 4, 2, 0, 0, 0);
  return [
    attribute(2, terminated(name)),
    attribute(3, be32(NFT_SET_ANONYMOUS_CONSTANT)),
    attribute(4, be32(keyType)),
    attribute(5, be32(length)),
    attribute(10, be32(id)),
    attribute(9, attribute(1, be32(values.length))),
    attribute(13, byteOrder),
  ];
}

function elementAttributes({ id, name, values }: NfAnonymousSet): Buffer[] {
  const all = values.map((value) => attribute(1, attribute(1, dataValue(value))));
  return [attribute(2, terminated(name)), attribute(4, be32(id)), attribute(3, Buffer.concat(all))];
}

function be64(value: bigint): Buffer {
  const data = Buffer.alloc(8);
  data.writeBigUInt64BE(value);
  return data;
}
