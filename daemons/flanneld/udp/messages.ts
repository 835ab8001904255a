import type { Target } from "./forwarding_table.ts";

/** What the daemon tells the thread that forwards, each a datagram of JSON. */
export interface ForwarderMessage {
  /** This node: what the thread listens on, and takes packets for. */
  readonly node?: {
    readonly device: string;
    readonly address: number;
    readonly port: number;
    readonly subnet: number;
    readonly prefix: number;
  };
  readonly set?: readonly Target[];
  /** Subnets and their prefix lengths. */
  readonly delete?: readonly (readonly [subnet: number, prefix: number])[];
}

/** What the thread tells the daemon: whether packets pass. */
export interface ForwarderReport {
  /** Why they do not, as a sentence; undefined if they do. */
  readonly problem?: string;
}

/** The most peers in one message, which fit a socket's buffer. */
export const mostTargets = 200;
/** Bytes of the longest message. */
export const messageBytes = 32 * 1024;
