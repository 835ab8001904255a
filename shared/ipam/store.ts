import { CniError, Code } from "../cni/error.ts";
import { errnoOf, messageOf } from "../base/failure.ts";
import type { Attachment } from "../cni/request.ts";
import {
  createFile,
  ensureFolder,
  isPresent,
  isSymlink,
  isTemporary,
  listIfPresent,
  readIfPresent,
  removeIfPresent,
  replaceFile,
  writeProblem,
} from "../files/files.ts";
import type { Attributes } from "../files/attributes.ts";
import type { Lock } from "../files/lock.ts";
import { formatAddress } from "../net/address.ts";
import type { Address } from "../net/address.ts";
import { ReservationIndex, indexFolder } from "./reservation_index.ts";
import type { IndexPlace } from "./reservation_index.ts";
import { Released } from "./released.ts";
import {
  formatBoot,
  formatOwner,
  heldBy,
  isEarlierBoot,
  isTaken,
  parsedAddress,
  parseOwner,
} from "./reservation.ts";
import type { Reservation } from "./reservation.ts";

/** What the store needs of the kernel. */
export interface StoreNode extends Attributes {
  readonly bootId: string | undefined;
  readonly hostName: string | undefined;
  readonly runFolder: string;
  lock(path: string, timeout: number): Lock;
}

/** Milliseconds to wait for the lock. */
const LOCK_TIMEOUT = 10_000;

/** The extended attribute of a reservation that says which boot it was made in. */
const bootAttribute = "user.flannel-cni.boot";

/** Addresses to look for one by one before listing the folder is the faster way. */
const fewAddresses = 32;

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
 *
 * Three things the reference plugin knows nothing of, and does not come across: extended attributes
 * say which boot a reservation is of and what was released lately, and {@link ReservationIndex} who has what.
 */
export class Store {
  readonly #folder: string;
  readonly #node: StoreNode;
  /** The mark of this boot, if it can be told. */
  readonly #boot: string | undefined;
  readonly #ownersPlace: IndexPlace;
  readonly #released: Released;
  /** While the lock is held: who has what, if that is known, and whether anything has changed. */
  #owners: ReservationIndex | undefined;
  #changed = false;
  /** Whether the last look at the folder has shown what a call is writing, or was when it was killed. */
  #sawTemporaries = false;

  /**
   * @param folder absolute and normalised; it need not exist.
   * @throws CniError Conflict if it is a symbolic link.
   */
  constructor(folder: string, node: StoreNode) {
    const { bootId, hostName, runFolder } = node;
    this.#folder = folder;
    this.#node = node;
    this.#boot =
      bootId === undefined || hostName === undefined ? undefined : formatBoot(bootId, hostName);
    this.#ownersPlace = { folder: indexFolder(runFolder, folder), reservations: folder, bootId };
    this.#released = new Released(node, this.#path("lock"));
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
    return this.#list().flatMap(({ file, address }) =>
      isWanted(address) ? (this.#read(file, address) ?? []) : [],
    );
  }

  /** Reads what an attachment holds of the wanted addresses. Takes no lock, see {@link read}. */
  held(attachment: Attachment, isWanted?: (address: Address) => boolean): Reservation[] {
    return heldBy(this.#ownedBy(attachment, isWanted) ?? this.read(isWanted), attachment);
  }

  /**
   * Runs `action` with the lock held, in a folder that exists.
   * @throws CniError TryAgainLater, naming the holder, if another process does not let go of it.
   */
  exclusive<T>(action: () => T): T {
    this.#attempt(() => {
      ensureFolder(this.#folder, 0o755);
    });
    const lock = this.#node.lock(this.#path("lock"), LOCK_TIMEOUT);
    this.#owners = ReservationIndex.load(this.#ownersPlace);
    this.#changed = false;
    try {
      return action();
    } finally {
      if (this.#changed) {
        if (this.#owners === undefined) ReservationIndex.discard(this.#ownersPlace);
        else this.#owners.save();
      }
      this.#owners = undefined;
      lock.release();
    }
  }

  /**
   * Removes what nobody has: blank reservations, those of an earlier boot, and what crashed calls
   * were writing. It reads them all, unless nothing has changed since that was done. To be called
   * with the lock held.
   */
  tidy(): void {
    if (this.#owners !== undefined) return;
    const found = this.read();
    if (this.#sawTemporaries) this.#removeTemporaries();
    for (const one of found) if (!isTaken(one)) this.#remove(one);
    this.#owners = ReservationIndex.of(this.#ownersPlace, found.filter(isTaken));
    this.#changed = true;
  }

  /** A function that says whether an address has a file. To be used with the lock held. */
  presence(): (address: Address) => boolean {
    let looked = 0;
    let names: ReadonlySet<string> | undefined;
    return (address) => {
      const name = formatAddress(address);
      if (++looked <= fewAddresses) return this.#attempt(() => isPresent(this.#path(name)));
      names ??= new Set(this.#attempt(() => listIfPresent(this.#folder)));
      return names.has(name);
    };
  }

  /**
   * Reserves an address. To be called with the lock held.
   * @returns the reservation, or undefined if somebody has the address.
   */
  reserve(address: Address, attachment: Attachment): Reservation | undefined {
    const file = formatAddress(address);
    const text = formatOwner(attachment);
    const mark = (temporary: string): void => {
      if (this.#boot !== undefined) {
        this.#node.setAttribute(temporary, bootAttribute, this.#boot);
      }
    };
    this.#changed = true;
    if (!this.#attempt(() => createFile(this.#path(file), text, 0o644, mark))) {
      const found = this.#read(file, address);
      if (found === undefined || isTaken(found)) return undefined;
      this.#attempt(() => {
        replaceFile(this.#path(file), text, 0o644, mark);
      });
    }
    const reservation = { file, address, text, owner: attachment, stale: false };
    this.#owners?.add(reservation);
    return reservation;
  }

  /** Takes the lock and removes those reservations that are still as they were read. */
  release(reservations: readonly Reservation[]): void {
    if (reservations.length === 0) return;
    this.exclusive(() => {
      const released = reservations.filter((one) => {
        const now = this.#read(one.file, one.address);
        if (now?.text !== one.text || now.stale !== one.stale) return false;
        this.#remove(one);
        return true;
      });
      this.#released.add(released.map(({ address }) => address));
    });
  }

  /**
   * Removes what crashed calls were writing, if there was any when the folder was looked at. Whoever
   * did not have to look, because the seal of the list holds, knows that there is none.
   */
  sweep(): void {
    if (!this.#sawTemporaries) return;
    this.exclusive(() => {
      this.#changed = true;
      this.#removeTemporaries();
    });
  }

  /** The addresses released last, the latest at the end, as far as the file system can tell. */
  released(): Address[] {
    return this.#released.addresses();
  }

  /** The address that a range set has given last, if that is known. */
  lastReserved(rangeSet: number): Address | undefined {
    return parsedAddress(this.#text(lastReservedFile(rangeSet))?.trim() ?? "");
  }

  /** To be called with the lock held. */
  setLastReserved(rangeSet: number, address: Address): void {
    this.#changed = true;
    this.#attempt(() => {
      replaceFile(this.#path(lastReservedFile(rangeSet)), formatAddress(address), 0o644);
    });
  }

  /** Why nothing could be reserved, as far as that can be told without trying; or undefined. */
  problem(): string | undefined {
    return writeProblem(this.#folder);
  }

  /** With the lock held nobody is writing them. */
  #removeTemporaries(): void {
    const names = this.#attempt(() => listIfPresent(this.#folder));
    for (const file of names.filter(isTemporary)) {
      this.#attempt(() => removeIfPresent(this.#path(file)));
    }
    this.#sawTemporaries = false;
  }

  #list(): { file: string; address: Address }[] {
    const names = this.#attempt(() => listIfPresent(this.#folder));
    this.#sawTemporaries = names.some(isTemporary);
    return names.flatMap((file) => {
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

  /** What may be an attachment's, or undefined if only reading everything can tell. */
  #ownedBy(
    attachment: Attachment,
    isWanted: (address: Address) => boolean = () => true,
  ): Reservation[] | undefined {
    const owners = this.#owners ?? ReservationIndex.load(this.#ownersPlace);
    const files = owners?.find(attachment);
    const isRight = this.#owners !== undefined || owners?.holds() === true;
    if (files === undefined || !isRight) return undefined;
    const found: Reservation[] = [];
    for (const file of files) {
      const address = parsedAddress(file);
      const one = address && this.#read(file, address);
      // Somebody has written to the file by hand.
      if (one?.owner?.containerId !== attachment.containerId) return undefined;
      if (isWanted(one.address)) found.push(one);
    }
    return found;
  }

  #read(file: string, address: Address): Reservation | undefined {
    const text = this.#text(file);
    if (text === undefined) return undefined;
    const mark = this.#node.attribute(this.#path(file), bootAttribute);
    const stale = isEarlierBoot(mark, this.#boot);
    return { file, address, text, owner: parseOwner(text), stale };
  }

  #remove(reservation: Reservation): void {
    this.#changed = true;
    this.#attempt(() => removeIfPresent(this.#path(reservation.file)));
    this.#owners?.remove(reservation);
  }

  #path(file: string): string {
    return `${this.#folder}/${file}`;
  }

  /** Says which network it hits when the system refuses something. */
  #attempt<T>(action: () => T): T {
    try {
      return action();
    } catch (cause) {
      // It may have been done by half.
      this.#owners = undefined;
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
