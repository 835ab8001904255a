import { baseName } from "../base/text.ts";
import type { Attachment } from "../cni/request.ts";
import { ensureFolder, listIfPresent, overwriteFile, removeIfPresent } from "../files/files.ts";
import { readIfPresent } from "../files/read_file.ts";
import { stampFolder, stampOf } from "../files/stamp.ts";
import type { Reservation } from "./reservation.ts";

/** Where an index is, and of what. */
export interface IndexPlace {
  /** The folder of the index. */
  readonly folder: string;
  /** The folder of the reservations. */
  readonly reservations: string;
  /** An index of another boot is out of date, wherever it has survived. */
  readonly bootId: string | undefined;
}

/** With fewer reservations there is no index: to read them all takes less than half a millisecond. */
const fewReservations = 32;

/** The name of the file that says whether the index is up to date. */
const stampFile = "stamp";

const options = { followsLink: false } as const;

/** Entries are in parts, by container, so that no call reads or writes much. */
const allParts = "0123456789abcdef";

/**
 * Who has which addresses of a network, so that nobody has to read the file of each address:
 *
 *     0 … f   <container's id> TAB <interface, or nothing> TAB <the address's file>
 *     stamp   <number of reservations> <the boot's id> <the stamp of the reservations' folder>
 *
 * The index is complete as long as the folder's stamp is the one that is written down last: no name
 * in the folder was made or removed since, by the reference plugin, by hand or by a call that was
 * killed. An index that is out of date is not used: all reservations are read again.
 */
export class ReservationIndex {
  readonly #place: IndexPlace;
  #count: number;
  /** Whether a part could not be read. */
  #broken = false;
  /** The folder's stamp when the index was saved. */
  readonly #stamp: string | undefined;
  /** The text of each part that was needed. A line break is at its beginning and after each line. */
  readonly #texts = new Map<string, string>();
  readonly #changed = new Set<string>();

  private constructor(place: IndexPlace, count: number, stamp: string | undefined) {
    this.#place = place;
    this.#count = count;
    this.#stamp = stamp;
  }

  /** The index as it is on disk, or undefined if it is out of date. */
  static load(place: IndexPlace): ReservationIndex | undefined {
    try {
      const saved = readIfPresent(`${place.folder}/${stampFile}`, options)?.split(" ");
      if (saved?.length !== 3 || saved[1] !== bootOf(place)) return undefined;
      const index = new ReservationIndex(place, Number(saved[0]), saved[2]);
      return index.isUpToDate() ? index : undefined;
    } catch {
      return undefined;
    }
  }

  /** An index of all reservations there are. */
  static build(place: IndexPlace, reservations: readonly Reservation[]): ReservationIndex {
    const index = new ReservationIndex(place, 0, undefined);
    const lines = new Map(allParts.split("").map((part): [string, string[]] => [part, []]));
    for (const reservation of reservations) {
      const line = lineOf(reservation);
      if (line === undefined) continue;
      index.#count++;
      lines.get(partOf(reservation.owner?.containerId ?? ""))?.push(line);
    }
    for (const [part, partLines] of lines) {
      index.#texts.set(part, ["", ...partLines, ""].join("\n"));
      index.#changed.add(part);
    }
    return index;
  }

  /**
   * Whether the folder's stamp is still the same. A caller without the lock must ask after each look,
   * because the parts are written after the reservations have changed.
   */
  isUpToDate(): boolean {
    return this.#stamp !== undefined && stampOf(this.#place.reservations) === this.#stamp;
  }

  /**
   * The files of the addresses that a container has for an interface, and of those of which no
   * interface was written down. Undefined if the index cannot be read.
   */
  find({ containerId, ifname }: Attachment): string[] | undefined {
    const text = this.#text(partOf(containerId));
    if (this.#broken) return undefined;
    return [ifname, ""].flatMap((name) => filesOf(text, `\n${containerId}\t${name}\t`));
  }

  add(reservation: Reservation): void {
    this.#change(reservation, 1, (text, line) => `${text}${line}\n`);
  }

  remove(reservation: Reservation): void {
    this.#change(reservation, -1, (text, line) => text.replace(`\n${line}\n`, () => "\n"));
  }

  /**
   * Writes the index, to be called when all changes of the reservations are made. If that fails there
   * is no index, which only costs time.
   */
  save(): void {
    if (this.#broken || this.#count < fewReservations) {
      ReservationIndex.discard(this.#place);
      return;
    }
    const { folder, reservations } = this.#place;
    try {
      ensureFolder(folder, 0o700);
      for (const part of this.#changed) {
        const text = this.#text(part);
        if (text === "\n") removeIfPresent(`${folder}/${part}`);
        else overwriteFile(`${folder}/${part}`, text, 0o600);
      }
      const stamp = [this.#count, bootOf(this.#place), stampFolder(reservations) ?? ""].join(" ");
      overwriteFile(`${folder}/${stampFile}`, stamp, 0o600);
    } catch {
      ReservationIndex.discard(this.#place);
    }
  }

  /** Removes the index, if there is one. */
  static discard({ folder }: IndexPlace): void {
    try {
      for (const name of listIfPresent(folder)) removeIfPresent(`${folder}/${name}`);
    } catch {
      // It is out of date by its stamp.
    }
  }

  #text(part: string): string {
    const known = this.#texts.get(part);
    if (known !== undefined) return known;
    let text = "\n";
    try {
      text = readIfPresent(`${this.#place.folder}/${part}`, options) ?? text;
    } catch {
      this.#broken = true;
    }
    this.#texts.set(part, text);
    return text;
  }

  #change(
    reservation: Reservation,
    more: 1 | -1,
    change: (text: string, line: string) => string,
  ): void {
    const line = lineOf(reservation);
    if (line === undefined) return;
    this.#count += more;
    const part = partOf(reservation.owner?.containerId ?? "");
    this.#texts.set(part, change(this.#text(part), line));
    this.#changed.add(part);
  }
}

function partOf(containerId: string): string {
  let sum = 0;
  for (let at = 0; at < containerId.length; at++) sum += containerId.charCodeAt(at);
  return (sum % allParts.length).toString(allParts.length);
}

function filesOf(text: string, key: string): string[] {
  const files: string[] = [];
  for (let at = text.indexOf(key); at >= 0; at = text.indexOf(key, at + key.length)) {
    files.push(text.slice(at + key.length, text.indexOf("\n", at + key.length)));
  }
  return files;
}

function bootOf({ bootId }: IndexPlace): string {
  return bootId ?? "unknown";
}

/** Undefined for what is not an attachment's. */
function lineOf({ owner, file }: Reservation): string | undefined {
  if (owner === undefined || /\s/.test(owner.containerId + (owner.ifname ?? ""))) return undefined;
  return `${owner.containerId}\t${owner.ifname ?? ""}\t${file}`;
}

/**
 * The folder of the index of a folder's reservations. Its name has the FNV-1a hash of that folder's
 * path in it, because the runtimes' own hashes take milliseconds to load. Two folders with the same
 * hash would make each other's index out of date, which only costs time.
 */
export function indexFolder(runFolder: string, folder: string): string {
  let hash = 0x811c9dc5;
  for (let at = 0; at < folder.length; at++) {
    hash = Math.imul(hash ^ folder.charCodeAt(at), 0x01000193);
  }
  const network = baseName(folder);
  return `${runFolder}/host-local/${network}-${(hash >>> 0).toString(16).padStart(8, "0")}`;
}
