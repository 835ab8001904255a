import { writeFileSync } from "node:fs";
import type { Attachment } from "../cni/request.ts";
import {
  ensureFolder,
  listIfPresent,
  readIfPresent,
  removeIfPresent,
  stampFolder,
  stampOf,
} from "../files/files.ts";
import type { Reservation } from "./reservation.ts";

/** Where the owners stand, and what they are the owners of. */
export interface IndexPlace {
  /** The folder of the list. */
  readonly folder: string;
  /** The folder of the reservations. */
  readonly reservations: string;
  /** A list of another boot counts for nothing, should it have outlived it. */
  readonly bootId: string | undefined;
}

/** With fewer reservations there is no list: reading them all costs less than half a millisecond. */
const fewReservations = 32;

/** The list is in so many parts, by container, that no call has to read or write much. */
const allParts = "0123456789abcdef".split("");

/**
 * Who has which addresses of a network, so that nobody has to read the file of each address:
 *
 *     0 … f   <container's id> TAB <interface, or nothing> TAB <the address's file>
 *     seal    <number of reservations> <the boot's id> <the stamp of the reservations' folder>
 *
 * The seal makes the list conclusive. It is written last, and holds only as long as no name in the
 * folder of the reservations was made or removed since, be it by the reference plugin, by hand or by
 * a call that was killed. A list whose seal does not hold is not used: whoever needs one reads all
 * reservations again.
 */
export class ReservationIndex {
  readonly #place: IndexPlace;
  #count: number;
  /** Whether a part could not be read. */
  #broken = false;
  /** The stamp that the seal has. */
  readonly #stamp: string | undefined;
  /** The text of each part that was needed: it begins with a line's end, and so does each line end. */
  readonly #texts = new Map<string, string>();
  readonly #changed = new Set<string>();

  private constructor(place: IndexPlace, count: number, stamp: string | undefined) {
    this.#place = place;
    this.#count = count;
    this.#stamp = stamp;
  }

  /** The list as it is on disk, or undefined if its seal does not hold. */
  static load(place: IndexPlace): ReservationIndex | undefined {
    try {
      const seal = readIfPresent(`${place.folder}/seal`)?.split(" ");
      if (seal?.length !== 3 || seal[1] !== bootOf(place)) return undefined;
      const owners = new ReservationIndex(place, Number(seal[0]), seal[2]);
      return owners.holds() ? owners : undefined;
    } catch {
      return undefined;
    }
  }

  /** A list of all reservations there are. */
  static of(place: IndexPlace, reservations: readonly Reservation[]): ReservationIndex {
    const owners = new ReservationIndex(place, 0, undefined);
    const lines = new Map(allParts.map((part): [string, string[]] => [part, []]));
    for (const one of reservations) {
      const line = lineOf(one);
      if (line === undefined) continue;
      owners.#count++;
      lines.get(partOf(one.owner?.containerId ?? ""))?.push(line);
    }
    for (const [part, own] of lines) {
      owners.#texts.set(part, ["", ...own, ""].join("\n"));
      owners.#changed.add(part);
    }
    return owners;
  }

  /**
   * Whether the seal holds still. Who does not hold the lock has to ask after each look, for the
   * parts are written when the reservations have changed.
   */
  holds(): boolean {
    return this.#stamp !== undefined && stampOf(this.#place.reservations) === this.#stamp;
  }

  /**
   * The files of what a container has for an interface, or for one that was not written down.
   * Undefined if the list cannot be read.
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
   * Writes the list and seals it. To be called when the reservations are as they will stay. Where it
   * cannot be written there is none, which costs time and nothing else.
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
        else writeFileSync(`${folder}/${part}`, text, { mode: 0o600 });
      }
      const seal = [this.#count, bootOf(this.#place), stampFolder(reservations) ?? ""].join(" ");
      writeFileSync(`${folder}/seal`, seal, { mode: 0o600 });
    } catch {
      ReservationIndex.discard(this.#place);
    }
  }

  /** Removes the list, if there is one. */
  static discard({ folder }: IndexPlace): void {
    try {
      for (const name of listIfPresent(folder)) removeIfPresent(`${folder}/${name}`);
    } catch {
      // Its seal does not hold any more.
    }
  }

  #text(part: string): string {
    const known = this.#texts.get(part);
    if (known !== undefined) return known;
    let text = "\n";
    try {
      text = readIfPresent(`${this.#place.folder}/${part}`) ?? text;
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

/** Undefined for what no valid attachment can own. */
function lineOf({ owner, file }: Reservation): string | undefined {
  if (owner === undefined || /\s/.test(owner.containerId + (owner.ifname ?? ""))) return undefined;
  return `${owner.containerId}\t${owner.ifname ?? ""}\t${file}`;
}

/**
 * Where the owners of a folder's reservations stand: by the network's name, and the FNV-1a hash of
 * the whole path, which is there at once where a runtime's own hashes take milliseconds to load. Two
 * folders with the same name would break each other's seal, which costs time and nothing else.
 */
export function indexFolder(runFolder: string, folder: string): string {
  let hash = 0x811c9dc5;
  for (let at = 0; at < folder.length; at++) {
    hash = Math.imul(hash ^ folder.charCodeAt(at), 0x01000193);
  }
  const network = folder.slice(folder.lastIndexOf("/") + 1);
  return `${runFolder}/host-local/${network}-${(hash >>> 0).toString(16).padStart(8, "0")}`;
}
