import { addressFromBytes } from "../net/address.ts";
import type { Family } from "../net/address.ts";
import type { Cidr } from "../net/cidr.ts";
import { attributes, Flag, readString, readU32, Type } from "./codec.ts";
import type { Received } from "./codec.ts";
import type { NetlinkSocket } from "./socket.ts";

/** The rules of `ip rule`: which routing table a packet's route is looked up in (linux/fib_rules.h). */

const AF_INET = 2;
const AF_INET6 = 10;
/** Bytes of struct fib_rule_hdr. */
const headerBytes = 12;
const FIB_RULE_INVERT = 2;

const FRA = {
  dst: 1,
  src: 2,
  iifname: 3,
  goto: 4,
  priority: 6,
  fwmark: 10,
  suppressPrefixLength: 14,
  table: 15,
  fwmask: 16,
  oifname: 17,
} as const;

/** Attributes that limit a rule to some packets, and are not read: tun_id, l3mdev, uid_range, ip_proto, ports. */
const otherConditions: readonly number[] = [12, 19, 20, 22, 23, 24];

const actions: ReadonlyMap<number, PolicyRule["action"]> = new Map([
  [1, "lookup"],
  [2, "goto"],
  [3, "nop"],
  [6, "blackhole"],
  [7, "unreachable"],
  [8, "prohibit"],
]);

export interface PolicyRule {
  readonly priority: number;
  readonly action: "lookup" | "goto" | "nop" | "blackhole" | "unreachable" | "prohibit" | "other";
  /** Whether it is for the packets that do not meet its conditions. */
  readonly isInverted: boolean;
  readonly src: Cidr | undefined;
  readonly dst: Cidr | undefined;
  readonly iif: string | undefined;
  readonly oif: string | undefined;
  readonly mark: { readonly value: number; readonly mask: number } | undefined;
  /** Whether it has conditions besides these. */
  readonly hasMore: boolean;
  /** For "lookup". */
  readonly table: number;
  /** Routes with a prefix of at most this length do not count; -1 where all do. */
  readonly suppressed: number;
  /** The priority that "goto" leads to. */
  readonly target: number;
}

/** The rules of a family, in the order that the kernel follows. @throws Failure kernel */
export function listPolicyRules(socket: NetlinkSocket, family: Family): PolicyRule[] {
  const body = Buffer.alloc(headerBytes);
  body.writeUInt8(family === 4 ? AF_INET : AF_INET6, 0);
  return socket
    .list({ type: Type.GETRULE, flags: Flag.DUMP, body }, readPolicyRule)
    .toSorted((a, b) => a.priority - b.priority);
}

function readPolicyRule({ body }: Received): PolicyRule {
  const attrs = attributes(body, headerBytes);
  const number = (type: number, absent: number): number => {
    const value = attrs.get(type);
    return value === undefined ? absent : readU32(value, 0);
  };
  const text = (type: number): string | undefined => {
    const value = attrs.get(type);
    return value === undefined ? undefined : readString(value);
  };
  const cidr = (type: number, prefix: number): Cidr | undefined => {
    const value = attrs.get(type);
    return value === undefined ? undefined : { address: addressFromBytes(value), prefix };
  };
  const value = number(FRA.fwmark, 0);
  const mask = number(FRA.fwmask, 0xffffffff);
  return {
    priority: number(FRA.priority, 0),
    action: actions.get(body.readUInt8(7)) ?? "other",
    isInverted: (readU32(body, 8) & FIB_RULE_INVERT) !== 0,
    src: cidr(FRA.src, body.readUInt8(2)),
    dst: cidr(FRA.dst, body.readUInt8(1)),
    iif: text(FRA.iifname),
    oif: text(FRA.oifname),
    mark: value === 0 && !attrs.has(FRA.fwmask) ? undefined : { value, mask },
    hasMore: body.readUInt8(3) !== 0 || otherConditions.some((type) => attrs.has(type)),
    table: number(FRA.table, body.readUInt8(4)),
    suppressed: number(FRA.suppressPrefixLength, 0xffffffff) | 0,
    target: number(FRA.goto, 0),
  };
}
