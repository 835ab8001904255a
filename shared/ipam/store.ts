import { isFailure } from "../base/failure.ts";
import type { Attachment } from "../cni/request.ts";
import type { Attributes } from "../files/attributes.ts";
import { ensureFolder, isTemporary } from "../files/files.ts";
import type { Lock } from "../files/lock.ts";
import { formatAddress } from "../net/address.ts";
import type { Address } from "../net/address.ts";
import { Released } from "./released.ts";
import { isTaken, ownedBy, parsedAddress } from "./reservation.ts";
import type { Reservation } from "./reservation.ts";
import { ReservationFiles } from "./reservation_files.ts";
import type { Boot } from "./reservation_files.ts";
import { ReservationIndex, indexFolder } from "./reservation_index.ts";
import type { IndexPlace } from "./reservation_index.ts";

/** What the store needs of the node. */
export interface StoreNode extends Attributes, Boot {
  readonly runFolder: string;
  lock(path: string, timeout: number): Lock;
  writeProblem(folder: string): Error | undefined;
}

/** Milliseconds to wait for the lock. */
const lockTimeout = 10_000;

/** Addresses to look for one by one before listing the folder is faster. */
const fewAddresses = 32;

/**
 * The reservations of one network. The reference plugin can work on the same files at the same time
 * (reservation_files.ts): both hold the folder's lock by flock(2) while they change something.
 *
 * A file with nothing in it, seen while the lock is held, is that of a writer that has crashed.
 *
 * The reference plugin neither knows nor meets three things: extended attributes say which boot a
 * reservation is of and what was released lately, and a {@link ReservationIndex} says who has what.
 */
export class Store {
  readonly #files: ReservationFiles;
  readonly #node: StoreNode;
  readonly #indexPlace: IndexPlace;
  readonly #released: Released;
  /** While the lock is held: the index, unless it is out of date, and whether anything has changed. */
  #index: ReservationIndex | undefined;
  #changed = false;

  /**
   * @param folder absolute and normalised; it need not exist.
   * @throws Failure conflict if it is a symbolic link.
   */
  constructor(folder: string, node: StoreNode) {
    this.#files = new ReservationFiles(folder, node, node);
    this.#node = node;
    const { bootId, runFolder } = node;
    this.#indexPlace = { folder: indexFolder(runFolder, folder), reservations: folder, bootId };
    this.#released = new Released(node, this.#files.path("lock"));
  }

  /** The addresses that have a file, anybody's or nobody's. Takes no lock. */
  addresses(): Address[] {
    return this.#files.list().map(({ address }) => address);
  }

  /**
   * Reads the reservations of the wanted addresses, by default of all. Takes no lock: nobody else
   * changes those of the calling container, and the others are read again before they are changed.
   */
  read(isWanted: (address: Address) => boolean = () => true): Reservation[] {
    const wanted = this.#files.list().filter(({ address }) => isWanted(address));
    return wanted.flatMap((entry) => this.#files.read(entry) ?? []);
  }

  /** The reservations of an attachment among the wanted addresses. Takes no lock, see {@link read}. */
  ownedBy(attachment: Attachment, isWanted?: (address: Address) => boolean): Reservation[] {
    return ownedBy(this.#indexed(attachment, isWanted) ?? this.read(isWanted), attachment);
  }

  /**
   * Runs `action` with the lock held, in a folder that exists.
   * @throws Failure busy, naming the holder, if another process keeps the lock.
   */
  exclusive<T>(action: () => T): T {
    const { folder } = this.#files;
    this.#files.attempt(() => {
      ensureFolder(folder, 0o755);
    });
    const lock = this.#node.lock(this.#files.path("lock"), lockTimeout);
    this.#index = ReservationIndex.load(this.#indexPlace);
    this.#changed = false;
    try {
      return action();
    } catch (error) {
      // A change may have been made by half.
      if (isFailure(error, "io")) this.#index = undefined;
      throw error;
    } finally {
      if (this.#changed) {
        if (this.#index === undefined) ReservationIndex.discard(this.#indexPlace);
        else this.#index.save();
      }
      this.#index = undefined;
      lock.release();
    }
  }

  /**
   * Removes what nobody has: empty reservations, those of an earlier boot, and temporary files of calls
   * that were killed. It reads all reservations, unless the index shows that nothing has changed since
   * it did so last. Call it with the lock held.
   */
  tidy(): void {
    if (this.#index !== undefined) return;
    const found = this.read();
    if (this.#files.sawTemporaries) this.#removeTemporaries();
    for (const reservation of found) if (!isTaken(reservation)) this.#remove(reservation);
    this.#index = ReservationIndex.build(this.#indexPlace, found.filter(isTaken));
    this.#changed = true;
  }

  /** A function that says whether an address has a file. Use it with the lock held. */
  presence(): (address: Address) => boolean {
    let looked = 0;
    let names: ReadonlySet<string> | undefined;
    return (address) => {
      if (++looked <= fewAddresses) return this.#files.has(address);
      names ??= new Set(this.#files.names());
      return names.has(formatAddress(address));
    };
  }

  /**
   * Reserves an address. Call it with the lock held.
   * @returns the reservation, or undefined if somebody has the address.
   */
  reserve(address: Address, attachment: Attachment): Reservation | undefined {
    this.#changed = true;
    let made = this.#files.create(address, attachment);
    if (made === undefined) {
      const found = this.#files.read({ file: formatAddress(address), address });
      if (found === undefined || isTaken(found)) return undefined;
      made = this.#files.replace(address, attachment);
    }
    this.#index?.add(made);
    return made;
  }

  /** Takes the lock and removes those reservations that are still as they were read. */
  release(reservations: readonly Reservation[]): void {
    if (reservations.length === 0) return;
    this.exclusive(() => {
      const released = reservations.filter((reservation) => {
        const now = this.#files.read(reservation);
        if (now?.text !== reservation.text || now.stale !== reservation.stale) return false;
        this.#remove(reservation);
        return true;
      });
      this.#released.add(released.map(({ address }) => address));
    });
  }

  /**
   * Removes the temporary files of calls that were killed, if the last look at the folder has shown
   * any. If the index is up to date, nobody had to look, and there are none.
   */
  sweep(): void {
    if (!this.#files.sawTemporaries) return;
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
    return this.#files.lastReserved(rangeSet);
  }

  /** Call it with the lock held. */
  setLastReserved(rangeSet: number, address: Address): void {
    this.#changed = true;
    this.#files.setLastReserved(rangeSet, address);
  }

  /** Why nothing could be reserved, as far as that can be told without trying; or undefined. */
  problem(): string | undefined {
    return this.#node.writeProblem(this.#files.folder)?.message;
  }

  /** With the lock held nobody is writing them. */
  #removeTemporaries(): void {
    for (const file of this.#files.names().filter(isTemporary)) this.#files.remove(file);
    this.#files.sawTemporaries = false;
  }

  /** What may be an attachment's by the index, or undefined if all reservations must be read. */
  #indexed(
    attachment: Attachment,
    isWanted: (address: Address) => boolean = () => true,
  ): Reservation[] | undefined {
    const index = this.#index ?? ReservationIndex.load(this.#indexPlace);
    const files = index?.find(attachment);
    const isRight = this.#index !== undefined || index?.isUpToDate() === true;
    if (files === undefined || !isRight) return undefined;
    const found: Reservation[] = [];
    for (const file of files) {
      const address = parsedAddress(file);
      const reservation = address && this.#files.read({ file, address });
      // Somebody has written to the file by hand.
      if (reservation?.owner?.containerId !== attachment.containerId) return undefined;
      if (isWanted(reservation.address)) found.push(reservation);
    }
    return found;
  }

  #remove(reservation: Reservation): void {
    this.#changed = true;
    this.#files.remove(reservation.file);
    this.#index?.remove(reservation);
  }
}
