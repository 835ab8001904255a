import { errnoOf, Failure, messageOf } from "../base/failure.ts";
import type { Attachment } from "../cni/request.ts";
import type { Attributes } from "../files/attributes.ts";
import {
  createFile,
  isPresent,
  isSymlink,
  isTemporary,
  listIfPresent,
  removeIfPresent,
  replaceFile,
} from "../files/files.ts";
import { isNoUsableFile, readIfPresent } from "../files/read_file.ts";
import type { Address } from "../net/address.ts";
import { formatAddress } from "../net/address.ts";
import {
  formatBoot,
  formatOwner,
  isEarlierBoot,
  parsedAddress,
  parseOwner,
} from "./reservation.ts";
import type { Reservation } from "./reservation.ts";

/** What the kernel says about the node, where it can be told. */
export interface Boot {
  readonly bootId: string | undefined;
  readonly hostName: string | undefined;
}

/** The extended attribute of a reservation that says in which boot it was made. */
const bootAttribute = "user.flannel-cni.boot";

/** Bytes of a reservation's file. An id and an interface's name have less than 300. */
const maxBytes = 4096;

/** As the reference's newer versions: which pods there are is nobody else's business. */
const fileMode = 0o600;

/** An address and the name of its file. */
interface AddressFile {
  readonly file: string;
  readonly address: Address;
}

/**
 * The files of one network's reservations, in the folder and the format of the reference plugin:
 *
 *     10.244.1.2            reserved; for whom, see reservation.ts
 *     last_reserved_ip.<i>  the address that range set i has given last
 *     lock                  see store.ts
 *
 * Ours appear whole, by link(2). Nothing is synced to disk: a reservation matters while its container
 * runs, and no container outlives the power cut that could lose it.
 *
 * What is no regular file in the place of one is a reservation of nobody knows whom: the address is
 * not given, and not released.
 */
export class ReservationFiles {
  readonly folder: string;
  readonly #attributes: Attributes;
  /** The mark of this boot. */
  readonly #boot: string | undefined;
  /** Whether the last look at the folder has shown temporary files. */
  sawTemporaries = false;

  /**
   * @param folder absolute and normalised; it need not exist.
   * @throws Failure conflict if it is a symbolic link.
   */
  constructor(folder: string, attributes: Attributes, { bootId, hostName }: Boot) {
    this.folder = folder;
    this.#attributes = attributes;
    this.#boot =
      bootId === undefined || hostName === undefined ? undefined : formatBoot(bootId, hostName);
    // The reference plugin does not follow one when it releases, so that addresses leak.
    if (!this.attempt(() => isSymlink(folder))) return;
    throw new Failure(
      "conflict",
      `Cannot use ${folder} for reservations: it must not be a symbolic link.`,
      "Put a folder in its place, or set ipam.dataDir to the parent of the folder that it leads to.",
    );
  }

  /** The files of addresses, anybody's or nobody's. */
  list(): AddressFile[] {
    const names = this.attempt(() => listIfPresent(this.folder));
    this.sawTemporaries = names.some(isTemporary);
    return names.flatMap((file) => {
      const address = parsedAddress(file);
      return address === undefined ? [] : [{ file, address }];
    });
  }

  /** The names of all files. */
  names(): string[] {
    return this.attempt(() => listIfPresent(this.folder));
  }

  /** Whether an address has a file. */
  has(address: Address): boolean {
    return this.attempt(() => isPresent(this.path(formatAddress(address))));
  }

  /** Undefined if there is no such file. */
  read({ file, address }: AddressFile): Reservation | undefined {
    const text = this.#text(file);
    if (text === undefined) return undefined;
    if (text === unusable) {
      return { file, address, text: "", owner: undefined, stale: false, isUnreadable: true };
    }
    const mark = this.#attributes.attribute(this.path(file), bootAttribute);
    const stale = isEarlierBoot(mark, this.#boot);
    return { file, address, text, owner: parseOwner(text), stale, isUnreadable: false };
  }

  /**
   * Makes the file of an address.
   * @returns undefined if there is one already.
   */
  create(address: Address, attachment: Attachment): Reservation | undefined {
    const made = this.#reservation(address, attachment);
    const isOurs = this.attempt(() =>
      createFile(this.path(made.file), made.text, fileMode, this.#mark),
    );
    return isOurs ? made : undefined;
  }

  /** Puts a reservation in the place of a file. */
  replace(address: Address, attachment: Attachment): Reservation {
    const made = this.#reservation(address, attachment);
    this.attempt(() => {
      replaceFile(this.path(made.file), made.text, fileMode, this.#mark);
    });
    return made;
  }

  /** Removes a file, which may be gone. */
  remove(file: string): void {
    this.attempt(() => removeIfPresent(this.path(file)));
  }

  /** The address that a range set has given last, if that is known. */
  lastReserved(rangeSet: number): Address | undefined {
    const text = this.#text(lastReservedFile(rangeSet));
    return text === undefined || text === unusable ? undefined : parsedAddress(text.trim());
  }

  setLastReserved(rangeSet: number, address: Address): void {
    const path = this.path(lastReservedFile(rangeSet));
    this.attempt(() => {
      try {
        replaceFile(path, formatAddress(address), fileMode);
      } catch (cause) {
        if (errnoOf(cause) !== "EISDIR") throw cause;
        throw new Failure(
          "io",
          `Cannot write ${path}: it must be a file (got a folder).`,
          `Remove it: rm -r ${path}.`,
          { cause },
        );
      }
    });
  }

  path(file: string): string {
    return `${this.folder}/${file}`;
  }

  /** Says which folder it is about when the system refuses something. @throws Failure io */
  attempt<T>(action: () => T): T {
    try {
      return action();
    } catch (cause) {
      if (cause instanceof Failure) throw cause;
      throw new Failure(
        "io",
        `Cannot use ${this.folder} for reservations: ${messageOf(cause)}.`,
        "Make sure that it is a folder, and that its disk is neither full nor read-only.",
        { cause },
      );
    }
  }

  #reservation(address: Address, attachment: Attachment): Reservation {
    return {
      file: formatAddress(address),
      address,
      text: formatOwner(attachment),
      owner: attachment,
      stale: false,
      isUnreadable: false,
    };
  }

  readonly #mark = (temporary: string): void => {
    if (this.#boot !== undefined) {
      this.#attributes.setAttribute(temporary, bootAttribute, this.#boot);
    }
  };

  #text(file: string): string | typeof unusable | undefined {
    return this.attempt(() => {
      try {
        return readIfPresent(this.path(file), { maxBytes, followsLink: false });
      } catch (error) {
        if (isNoUsableFile(error)) return unusable;
        throw error;
      }
    });
  }
}

/** Something is there that is no regular file, or too long for a reservation. */
const unusable = Symbol("unusable");

function lastReservedFile(rangeSet: number): string {
  return `last_reserved_ip.${String(rangeSet)}`;
}
