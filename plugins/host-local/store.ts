import { CniError, Code, errnoOf, messageOf } from "../../shared/cni/error.ts";
import type { Attachment } from "../../shared/cni/request.ts";
import {
  createFile,
  ensureFolder,
  isSymlink,
  isTemporary,
  listIfPresent,
  readIfPresent,
  removeIfPresent,
  replaceFile,
  writeProblem,
} from "../../shared/host/files.ts";
import type { Lock } from "../../shared/kernel/mod.ts";
import { formatAddress, parseAddress } from "../../shared/net/address.ts";
import type { Address } from "../../shared/net/address.ts";
import { formatOwner, parseOwner } from "./reservation.ts";
import type { Reservation } from "./reservation.ts";

/** What the store needs of the kernel. */
export interface Locks {
  lock(path: string, timeout: number): Lock;
}

/** Milliseconds to wait for the lock. */
const LOCK_TIMEOUT = 10_000;

/**
 * The reservations of one network, in the folder and the format of the reference plugin, which can
 * work on the same folder at the same time:
 *
 *     10.244.1.2            reserved; whose it is, see reservation.ts
 *     last_reserved_ip.<i>  the address that range set i has given last
 *     lock                  is held, by flock(2), by who changes something
 *
 * A blank address file is nobody's once the lock is held: its writer has crashed. Ours come into
 * being whole, by link(2). Nothing is synced to disk: a reservation matters while its container
 * runs, and no container outlives the power cut that could lose it.
 */
export class Store {
  readonly #folder: string;
  readonly #locks: Locks;

  /**
   * @param folder absolute and normalised; it need not exist.
   * @throws CniError Conflict if it is a symbolic link.
   */
  constructor(folder: string, locks: Locks) {
    this.#folder = folder;
    this.#locks = locks;
    // The reference plugin does not follow one when it releases, so that addresses leak.
    if (!this.#attempt(() => isSymlink(folder))) return;
    throw new CniError(
      Code.Conflict,
      `Cannot use ${folder} for reservations: it is a symbolic link.`,
      "Put a folder in its place, or set ipam.dataDir to the one above where it leads to.",
    );
  }

  /** The addresses that have a file, somebody's or not. Takes no lock. */
  addresses(): Address[] {
    return this.#list().map(({ address }) => address);
  }

  /**
   * Reads the reservations of the wanted addresses, by default of all. Takes no lock: what is the
   * calling container's stays its own, and the rest is looked at again before it is changed.
   */
  read(isWanted: (address: Address) => boolean = () => true): Reservation[] {
    return this.#list().flatMap(({ file, address }) => {
      if (!isWanted(address)) return [];
      const text = this.#text(file);
      return text === undefined ? [] : [{ file, address, text, owner: parseOwner(text) }];
    });
  }

  /**
   * Runs `action` with the lock held, in a folder that exists.
   * @throws CniError TryAgainLater, naming the holder, if another process does not let go of it.
   */
  exclusive<T>(action: () => T): T {
    this.#attempt(() => {
      ensureFolder(this.#folder, 0o755);
    });
    const lock = this.#locks.lock(this.#path("lock"), LOCK_TIMEOUT);
    try {
      return action();
    } finally {
      lock.release();
    }
  }

  /**
   * Reserves an address. To be called with the lock held.
   * @returns the reservation, or undefined if somebody has the address.
   */
  reserve(address: Address, attachment: Attachment): Reservation | undefined {
    const file = formatAddress(address);
    const text = formatOwner(attachment);
    if (!this.#attempt(() => createFile(this.#path(file), text, 0o644))) {
      const found = this.#text(file);
      if (found === undefined || parseOwner(found) !== undefined) return undefined;
      this.#replace(file, text);
    }
    return { file, address, text, owner: attachment };
  }

  /** Takes the lock and removes those reservations that are still as they were read. */
  release(reservations: readonly Reservation[]): void {
    if (reservations.length === 0) return;
    this.exclusive(() => {
      for (const { file, text } of reservations) {
        if (this.#text(file) === text) this.#attempt(() => removeIfPresent(this.#path(file)));
      }
    });
  }

  /** Removes what crashed calls were writing: the temporary files there are with the lock held. */
  sweep(): void {
    const left = () => this.#attempt(() => listIfPresent(this.#folder)).filter(isTemporary);
    if (left().length === 0) return;
    this.exclusive(() => {
      for (const file of left()) this.#attempt(() => removeIfPresent(this.#path(file)));
    });
  }

  /** The address that a range set has given last, if that is known. */
  lastReserved(rangeSet: number): Address | undefined {
    return parsedAddress(this.#text(lastReservedFile(rangeSet))?.trim() ?? "");
  }

  /** To be called with the lock held. */
  setLastReserved(rangeSet: number, address: Address): void {
    this.#replace(lastReservedFile(rangeSet), formatAddress(address));
  }

  /** Why nothing could be reserved, as far as that can be told without trying; or undefined. */
  problem(): string | undefined {
    return writeProblem(this.#folder);
  }

  #list(): { file: string; address: Address }[] {
    return this.#attempt(() => listIfPresent(this.#folder)).flatMap((file) => {
      const address = parsedAddress(file);
      return address === undefined ? [] : [{ file, address }];
    });
  }

  /** The text of a file, or undefined if there is none. */
  #text(file: string): string | undefined {
    return this.#attempt(() => {
      try {
        return readIfPresent(this.#path(file));
      } catch (error) {
        if (errnoOf(error) === "EISDIR") return undefined;
        throw error;
      }
    });
  }

  #replace(file: string, text: string): void {
    this.#attempt(() => {
      replaceFile(this.#path(file), text, 0o644);
    });
  }

  #path(file: string): string {
    return `${this.#folder}/${file}`;
  }

  /** Says which network it hits when the system refuses something. */
  #attempt<T>(action: () => T): T {
    try {
      return action();
    } catch (cause) {
      throw new CniError(
        Code.IoFailure,
        `Cannot use ${this.#folder} for reservations: ${messageOf(cause)}.`,
        "See that it is a folder, and that its disk is neither full nor read-only.",
        { cause },
      );
    }
  }
}

function lastReservedFile(rangeSet: number): string {
  return `last_reserved_ip.${String(rangeSet)}`;
}

function parsedAddress(text: string): Address | undefined {
  // Spares the names that are common and no addresses the cost of an exception.
  if (!/^[0-9a-fA-F.:]{2,}$/.test(text)) return undefined;
  try {
    return parseAddress(text);
  } catch {
    return undefined;
  }
}
