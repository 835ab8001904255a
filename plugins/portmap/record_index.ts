import { asCniError } from "../../shared/cni/error.ts";
import { hostPortTag } from "../../shared/firewall/names.ts";
import type { PortMapping } from "../../shared/firewall/port_forward.ts";
import type { PortRecord } from "./record.ts";
import type { StoreFiles } from "./store_files.ts";

export const indexFolders: readonly string[] = ["ports", "ids", "links"];

/** All records, by their names. */
type Records = () => ReadonlyMap<string, PortRecord>;

/** Whether a name is that of a record: the start of a digest. */
export function isRecordName(name: string): boolean {
  return /^[0-9a-f]{40}$/.test(name);
}

/**
 * Names the records by their host ports, their containers and their links: a file for each, with a
 * line for each record. What such a file must say is in the records too, so one that is damaged stops
 * nothing.
 */
export class RecordIndex {
  readonly #files: StoreFiles;
  readonly #digest: (text: string) => string;
  readonly #records: Records;

  constructor(files: StoreFiles, digest: (text: string) => string, records: Records) {
    this.#files = files;
    this.#digest = digest;
    this.#records = records;
  }

  /** The names of the records that claim a host port of a protocol. */
  onPort({ protocol, hostPort }: Pick<PortMapping, "protocol" | "hostPort">): string[] {
    return this.#names(`ports/${protocol}-${hostPort}`);
  }

  /** The names of the records of a container, and of those that no comment of nftables tells apart. */
  ofContainer(containerId: string): string[] {
    return this.#names(this.#containerFile(containerId));
  }

  /** The names of the records that need route_localnet of a link. */
  onLink(link: string): string[] {
    return this.#names(`links/${link}`);
  }

  /** @throws CniError IoFailure */
  add(name: string, record: PortRecord): void {
    for (const file of this.#filesOf(record)) {
      const names = this.#names(file);
      if (this.#files.isUnusable(file)) this.#rewrite(file, [...new Set([...names, name])]);
      else if (!names.includes(name)) this.#files.writeLines(file, [...names, name]);
    }
  }

  /** @throws CniError IoFailure */
  remove(name: string, record: PortRecord): void {
    for (const file of this.#filesOf(record)) {
      const names = this.#names(file);
      const remaining = names.filter((entry) => entry !== name);
      if (this.#files.isUnusable(file)) this.#rewrite(file, remaining);
      else if (remaining.length < names.length) this.#files.writeLines(file, remaining);
    }
  }

  /** Makes every file say what the records do. @throws CniError IoFailure */
  rebuild(): void {
    const wanted = new Map<string, string[]>();
    for (const [name, record] of this.#records()) {
      for (const file of this.#filesOf(record)) {
        wanted.set(file, [...(wanted.get(file) ?? []), name]);
      }
    }
    const present = indexFolders.flatMap((folder) =>
      this.#files.list(folder).map((file) => `${folder}/${file}`),
    );
    for (const file of new Set([...present, ...wanted.keys()])) {
      const names = wanted.get(file) ?? [];
      const lines = this.#files.readLines(file);
      const isRight = lines.length === names.length && names.every((name) => lines.includes(name));
      if (!isRight || names.length === 0) this.#rewrite(file, names);
    }
  }

  #names(file: string): string[] {
    const text = this.#files.read(file);
    if (text === undefined && !this.#files.isUnusable(file)) return [];
    const names = text?.split("\n").filter(Boolean) ?? [];
    if (names.length > 0 && names.every(isRecordName)) return names;
    this.#files.distrust(file, "it must have a line for each record");
    return [...this.#records()].flatMap(([name, record]) =>
      this.#filesOf(record).has(file) ? [name] : [],
    );
  }

  /** Writes or removes a file that was damaged. If that fails, the records still tell. */
  #rewrite(file: string, names: readonly string[]): void {
    try {
      this.#files.writeLines(file, names);
    } catch (error) {
      const { message, details } = asCniError(error);
      this.#files.warn(`${message} ${details}`);
    }
  }

  #filesOf({ forward, localnetLink }: PortRecord): ReadonlySet<string> {
    const ports = forward.mappings.map(({ protocol, hostPort }) => `ports/${protocol}-${hostPort}`);
    const links = localnetLink === undefined ? [] : [`links/${localnetLink}`];
    return new Set([...ports, ...links, this.#containerFile(forward.containerId)]);
  }

  #containerFile(containerId: string): string {
    return `ids/${this.#digest(hostPortTag(containerId))}`;
  }
}
