import type { Attributes } from "../files/attributes.ts";
import { formatAddress } from "../net/address.ts";
import type { Address } from "../net/address.ts";
import { parsedAddress } from "./reservation.ts";

/** The extended attribute that lists them, the latest at the end. */
const releasedAttribute = "user.flannel-cni.released";

/** Bytes of the list: ext4 has 4,096 for all attributes of a file. */
const maxReleased = 3000;

/** The addresses of a network that were released last, kept as an attribute of its lock. */
export class Released {
  readonly #node: Attributes;
  readonly #file: string;

  constructor(node: Attributes, file: string) {
    this.#node = node;
    this.#file = file;
  }

  /** The latest at the end; none where the file system knows no attributes. */
  addresses(): Address[] {
    return this.#names().flatMap((name) => parsedAddress(name) ?? []);
  }

  /** Adds to the list, which forgets the oldest. Call it with the lock held. */
  add(addresses: readonly Address[]): void {
    const latest = addresses.map(formatAddress);
    const older = this.#names().filter((file) => !latest.includes(file));
    let text = [...older, ...latest].filter(Boolean).join(" ");
    if (text.length > maxReleased) {
      text = text.slice(text.indexOf(" ", text.length - maxReleased) + 1);
    }
    if (latest.length > 0) this.#node.setAttribute(this.#file, releasedAttribute, text);
  }

  #names(): string[] {
    return (this.#node.attribute(this.#file, releasedAttribute) ?? "").split(" ");
  }
}
