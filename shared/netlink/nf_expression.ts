import { nested } from "./codec.ts";
import { terminated } from "./nf_tables.ts";

/**
 * Expressions of nf_tables' rules (linux/netfilter/nf_tables.h): what a rule loads, compares and
 * does, in order. Each is written as the kernel lists it, so that equal rules are equal bytes.
 */
const NFTA_LIST_ELEM = 1;
const NFTA_EXPR_NAME = 1;
const NFTA_EXPR_DATA = 2;
const NFTA_DATA_VALUE = 1;
const NFTA_DATA_VERDICT = 2;
const NFTA_VERDICT_CODE = 1;
const NFTA_VERDICT_CHAIN = 2;

/** Registers: the verdict's, and two of 16 bytes. */
const NFT_REG_VERDICT = 0;
const NFT_REG_1 = 1;
const NFT_REG_2 = 2;

/** Where a payload expression counts from. */
export const Header = { link: 0, network: 1, transport: 2 } as const;

/** What a meta expression loads. */
export const Meta = { mark: 3, iifname: 6, nfproto: 15, l4proto: 16 } as const;

/** Verdicts: netfilter's own, then nf_tables'. */
export const Verdict = { drop: 0, accept: 1, jump: -3, goto: -4, return: -5 } as const;

/** Flags of NAT (linux/netfilter/nf_nat.h). */
export const NatFlag = { mapAddress: 1, portSpecified: 2, fullyRandom: 16 } as const;

/** Loads bytes of the packet into a register. */
export function payload(base: number, offset: number, length: number): Buffer {
  return expression("payload", [
    [1, be32(NFT_REG_1)],
    [2, be32(base)],
    [3, be32(offset)],
    [4, be32(length)],
  ]);
}

/** Loads what the kernel knows of the packet into a register. */
export function meta(key: number): Buffer {
  return expression("meta", [
    [2, be32(key)],
    [1, be32(NFT_REG_1)],
  ]);
}

/** Sets what the kernel knows of the packet from a register. */
export function setMeta(key: number): Buffer {
  return expression("meta", [
    [2, be32(key)],
    [3, be32(NFT_REG_1)],
  ]);
}

/** Goes on if the register has this value; with `isInverted`, if it has not. */
export function compare(value: Buffer, isInverted = false): Buffer {
  return expression("cmp", [
    [1, be32(NFT_REG_1)],
    [2, be32(isInverted ? 1 : 0)],
    [3, dataValue(value)],
  ]);
}

/** Changes the register: those bits of the mask stay, then those of `flipped` are inverted. */
export function bitwise(mask: Buffer, flipped: Buffer): Buffer {
  return expression("bitwise", [
    [1, be32(NFT_REG_1)],
    [2, be32(NFT_REG_1)],
    [3, be32(mask.length)],
    [6, be32(0)],
    [4, dataValue(mask)],
    [5, dataValue(flipped)],
  ]);
}

/** Goes on if the register's value is in a set of the same transaction. */
export function lookup(set: string, id: number): Buffer {
  return expression("lookup", [
    [1, terminated(set)],
    [2, be32(NFT_REG_1)],
    [4, be32(id)],
  ]);
}

/** Ends with a verdict: for a jump, with its chain. */
export function verdict(code: number, chain?: string): Buffer {
  const parts = [attribute(NFTA_VERDICT_CODE, be32(code))];
  if (chain !== undefined) parts.push(attribute(NFTA_VERDICT_CHAIN, terminated(chain)));
  return expression("immediate", [
    [1, be32(NFT_REG_VERDICT)],
    [2, attribute(NFTA_DATA_VERDICT, Buffer.concat(parts))],
  ]);
}

/** Sends packets on to an address and a port. */
export function destinationNat(family: number, address: Buffer, port: Buffer): Buffer[] {
  return [
    immediate(NFT_REG_1, address),
    immediate(NFT_REG_2, port),
    expression("nat", [
      [1, be32(1)],
      [2, be32(family)],
      [3, be32(NFT_REG_1)],
      [4, be32(NFT_REG_1)],
      [5, be32(NFT_REG_2)],
      [6, be32(NFT_REG_2)],
      [7, be32(NatFlag.mapAddress | NatFlag.portSpecified)],
    ]),
  ];
}

/** Gives packets the address of the link that they leave by. */
export function masquerade(flags: number): Buffer {
  return expression("masq", flags === 0 ? [] : [[1, be32(flags)]]);
}

/** A counter that starts at 0, as every rule of iptables-nft has one. */
export function counter(): Buffer {
  return expression("counter", [
    [1, Buffer.alloc(8)],
    [2, Buffer.alloc(8)],
  ]);
}

/** A match of x_tables, with its own structure. */
export function xtMatch(name: string, revision: number, info: Buffer): Buffer {
  return xtables("match", name, revision, info);
}

/** A target of x_tables, with its own structure. */
export function xtTarget(name: string, revision: number, info: Buffer): Buffer {
  return xtables("target", name, revision, info);
}

function xtables(kind: string, name: string, revision: number, info: Buffer): Buffer {
  // XT_ALIGN
  const padding = Buffer.alloc((8 - (info.length % 8)) % 8);
  return expression(kind, [
    [1, terminated(name)],
    [2, be32(revision)],
    [3, Buffer.concat([info, padding])],
  ]);
}

function immediate(register: number, value: Buffer): Buffer {
  return expression("immediate", [
    [1, be32(register)],
    [2, dataValue(value)],
  ]);
}

function expression(kind: string, attrs: readonly (readonly [number, Buffer])[]): Buffer {
  const data = Buffer.concat(attrs.map(([type, value]) => attribute(type, value)));
  return attribute(
    NFTA_LIST_ELEM,
    Buffer.concat([attribute(NFTA_EXPR_NAME, terminated(kind)), attribute(NFTA_EXPR_DATA, data)]),
  );
}

/** A value as an element of nf_tables' data. */
export function dataValue(value: Buffer): Buffer {
  return attribute(NFTA_DATA_VALUE, value);
}

/** One attribute; nf_tables does without the flag that its data are attributes. */
export function attribute(type: number, data: Uint8Array): Buffer {
  return nested(type, data, false);
}

/** A number as nf_tables has most: four bytes in network order. */
export function be32(value: number): Buffer {
  const data = Buffer.alloc(4);
  data[0] = value >> 24;
  data[1] = value >> 16;
  data[2] = value >> 8;
  data[3] = value;
  return data;
}
