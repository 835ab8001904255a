/** What the tests of host-local share. */
import { mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "vitest";

import { writeProblem } from "../../../../shared/files/files.ts";
import { makeRange, makeRangeSet } from "../../../../shared/ipam/ranges.ts";
import type { Range, RangeSet } from "../../../../shared/ipam/ranges.ts";
import type { StoreNode } from "../../../../shared/ipam/store.ts";
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

/** A range with its defaults. */
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

/** Matches the error for a refused config. */
export function refusal(message: string, details = ""): object {
  return {
    code: Code.InvalidNetworkConfig,
    message: expect.stringContaining(message),
    details: expect.stringContaining(details),
  };
}

/** A temporary folder, removed after the test. */
export function temporaryFolder(): Disposable & { readonly path: string } {
  const path = mkdtempSync(join(tmpdir(), "host-local-"));
  return {
    path,
    [Symbol.dispose]: () => {
      rmSync(path, { recursive: true });
    },
  };
}

/** A kernel that records locks, keeps attributes and can reboot. */
export class FakeNode implements StoreNode {
  readonly taken: string[] = [];
  isLocked = false;
  bootId: string | undefined = "boot-1";
  hostName: string | undefined = "node-1";
  /** Whether the file system has extended attributes. */
  hasAttributes = true;
  readonly runFolder: string;
  /** By inode number, because a file keeps them under another name. */
  readonly #attributes = new Map<number, Map<string, string>>();

  constructor(runFolder: string) {
    this.runFolder = runFolder;
  }

  lock(path: string): { release(): void } {
    if (this.isLocked) throw new Error("locked twice");
    // The real one makes the file.
    writeFileSync(path, "", { flag: "a" });
    this.taken.push(path);
    this.isLocked = true;
    return {
      release: () => {
        this.isLocked = false;
      },
    };
  }

  writeProblem(folder: string) {
    return writeProblem(folder);
  }

  attribute(path: string, name: string): string | undefined {
    const inode = statSync(path, { throwIfNoEntry: false })?.ino ?? 0;
    return this.#attributes.get(inode)?.get(name);
  }

  setAttribute(path: string, name: string, value: string): void {
    if (!this.hasAttributes) return;
    const { ino } = statSync(path);
    const own = this.#attributes.get(ino) ?? new Map<string, string>();
    this.#attributes.set(ino, own.set(name, value));
  }

  /** Drops a removed file's attributes, because its inode number may be reused. */
  forget(path: string): void {
    this.#attributes.delete(statSync(path).ino);
  }
}
