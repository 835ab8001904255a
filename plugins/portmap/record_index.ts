import { hostPortTag } from "../../shared/firewall/names.ts";
import type { PortMapping } from "../../shared/firewall/port_forward.ts";
import type { PortRecord } from "./record.ts";
import type { StoreFiles } from "./store_files.ts";

export const indexFolders: readonly string[] = ["ports", "ids", "links"];

/**
 * Names the records by their host ports, their containers and their links: a file for each, with a
 * line for each record.
 */
export class RecordIndex {
  readonly #files: StoreFiles;
  readonly #digest: (text: string) => string;

  constructor(files: StoreFiles, digest: (text: string) => string) {
    this.#files = files;
    this.#digest = digest;
  }

  /** The names of the records that claim a host port of a protocol. */
  onPort({ protocol, hostPort }: Pick<PortMapping, "protocol" | "hostPort">): string[] {
    return this.#files.readLines(`ports/${protocol}-${hostPort}`);
  }

  /** The names of the records of a container, and of those that no comment of nftables tells apart. */
  ofContainer(containerId: string): string[] {
    return this.#files.readLines(this.#containerFile(containerId));
  }

  /** The names of the records that need route_localnet of a link. */
  onLink(link: string): string[] {
    return this.#files.readLines(`links/${link}`);
  }

  /** @throws CniError IoFailure */
  add(name: string, record: PortRecord): void {
    for (const file of this.#filesOf(record)) {
      const names = this.#files.readLines(file);
      if (!names.includes(name)) this.#files.writeLines(file, [...names, name]);
    }
  }

  /** @throws CniError IoFailure */
  remove(name: string, record: PortRecord): void {
    for (const file of this.#filesOf(record)) {
      const names = this.#files.readLines(file);
      const remaining = names.filter((entry) => entry !== name);
      if (remaining.length < names.length) this.#files.writeLines(file, remaining);
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
