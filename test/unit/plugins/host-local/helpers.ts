/** What the tests of host-local share. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "vitest";

import { makeRange, makeRangeSet } from "../../../../plugins/host-local/ranges.ts";
import type { Range, RangeSet } from "../../../../plugins/host-local/ranges.ts";
import type { Locks } from "../../../../plugins/host-local/store.ts";
import { Code } from "../../../../shared/cni/error.ts";
import { parseAddress } from "../../../../shared/net/address.ts";
import type { Address } from "../../../../shared/net/address.ts";
import { parseCidr } from "../../../../shared/net/cidr.ts";

export interface RangeText {
  readonly subnet: string;
  readonly start?: string;
  readonly end?: string;
  readonly gateway?: string;
}

/** A range, its defaults filled in. */
export function range({ subnet, start, end, gateway }: RangeText): Range {
  return makeRange(
    {
      subnet: parseCidr(subnet),
      start: address(start),
      end: address(end),
      gateway: address(gateway),
    },
    "here",
  );
}

function address(text: string | undefined): Address | undefined {
  return text === undefined ? undefined : parseAddress(text);
}

export function rangeSet(...ranges: RangeText[]): RangeSet {
  return makeRangeSet(ranges.map(range), "here");
}

/** What a refused config's error looks like. */
export function refusal(said: string, details = ""): object {
  return {
    code: Code.InvalidNetworkConfig,
    message: expect.stringContaining(said),
    details: expect.stringContaining(details),
  };
}

/** A folder that is gone after the test. */
export function temporaryFolder(): Disposable & { readonly path: string } {
  const path = mkdtempSync(join(tmpdir(), "host-local-"));
  return {
    path,
    [Symbol.dispose]: () => {
      rmSync(path, { recursive: true });
    },
  };
}

/** A lock that says what happens to it, and whether it is held. */
export class FakeLocks implements Locks {
  readonly taken: string[] = [];
  held = false;

  lock(path: string): { release(): void } {
    if (this.held) throw new Error("locked twice");
    this.taken.push(path);
    this.held = true;
    return {
      release: () => {
        this.held = false;
      },
    };
  }
}
