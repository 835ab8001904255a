import { statSync } from "node:fs";

import { CniError, Code } from "../cni/error.ts";
import { messageOf } from "../base/failure.ts";
import { isJsonArray, isJsonObject, parseJson } from "../base/json.ts";
import type { Attachment } from "../cni/request.ts";
import {
  ensureFolder,
  listIfPresent,
  readIfPresent,
  removeIfPresent,
  replaceFile,
} from "../files/files.ts";
import type { Json, JsonObject } from "../base/json.ts";
import { cacheFolder } from "../files/paths.ts";

/** A CNI_ARGS pair. */
export type Arg = readonly [key: string, value: string];

/** An attachment that libcni has cached: what ADD was called with and what came of it. */
export interface Cached extends Attachment {
  readonly network: string;
  readonly netns: string;
  readonly args: readonly Arg[];
  readonly capabilityArgs: JsonObject;
  readonly result: JsonObject | undefined;
  /** The conflist at ADD. */
  readonly config: string;
}

/** A cached attachment and its file. */
export interface CachedFile extends Cached {
  readonly file: string;
  /** When ADD was done. */
  readonly since: Date;
}

const kind = "cniCacheV1";
const resultsFolder = `${cacheFolder}/results`;

/**
 * Where libcni keeps the results of ADD for CHECK, DEL and GC, in its own format, so that a runtime
 * and cnitool know of each other's attachments:
 *
 *     <network>-<container's id>-<interface>
 */
export class Cache {
  readonly folder: string;
  readonly #readOnly: boolean;

  /** @param readOnly for looking at what a call would do: nothing is written or removed. */
  constructor(folder: string = resultsFolder, readOnly: boolean = false) {
    this.folder = folder;
    this.#readOnly = readOnly;
  }

  /** What is cached of an attachment. What cannot be read counts as nothing, as libcni has it. */
  read(network: string, of: Attachment): CachedFile | undefined {
    return this.#read(nameOf(network, of));
  }

  /** All that is cached, in the order of the files' names. */
  list(): CachedFile[] {
    return this.#attempt(() => listIfPresent(this.folder))
      .toSorted()
      .flatMap((name) => this.#read(name) ?? []);
  }

  /** The files that are no cached attachments: damaged, or something else's. */
  damaged(): string[] {
    return this.#attempt(() => listIfPresent(this.folder))
      .filter((name) => !name.startsWith(".") && this.#read(name) === undefined)
      .map((name) => `${this.folder}/${name}`);
  }

  /** @throws CniError IoFailure */
  write(cached: Cached): void {
    if (this.#readOnly) return;
    const { network, containerId, ifname, netns, args, capabilityArgs, result, config } = cached;
    const text = JSON.stringify({
      kind,
      containerId,
      config: Buffer.from(config).toString("base64"),
      ifName: ifname,
      networkName: network,
      ...(netns === "" ? {} : { netns }),
      ...(args.length === 0 ? {} : { cniArgs: args }),
      ...(Object.keys(capabilityArgs).length === 0 ? {} : { capabilityArgs }),
      ...(result === undefined ? {} : { result }),
    });
    this.#attempt(() => {
      ensureFolder(this.folder, 0o700);
      replaceFile(`${this.folder}/${nameOf(network, cached)}`, text, 0o600);
    });
  }

  /** @throws CniError IoFailure */
  remove(network: string, of: Attachment): void {
    if (this.#readOnly) return;
    this.#attempt(() => removeIfPresent(`${this.folder}/${nameOf(network, of)}`));
  }

  #read(name: string): CachedFile | undefined {
    const file = `${this.folder}/${name}`;
    try {
      const text = readIfPresent(file);
      const cached = text === undefined ? undefined : fromText(text);
      return cached === undefined ? undefined : { ...cached, file, since: statSync(file).mtime };
    } catch {
      return undefined;
    }
  }

  #attempt<T>(action: () => T): T {
    try {
      return action();
    } catch (cause) {
      throw new CniError(
        Code.IoFailure,
        `Cannot keep results in ${this.folder}: ${messageOf(cause)}.`,
        "See that it is a folder that root can write to, and that its disk is neither full nor read-only.",
        { cause },
      );
    }
  }
}

function nameOf(network: string, { containerId, ifname }: Attachment): string {
  return `${network}-${containerId}-${ifname}`;
}

/** The interface's namespace by its result: libcni, up to 1.1, keeps it nowhere else. */
function sandboxIn(result: Json | undefined, ifname: string): string {
  const interfaces = isJsonObject(result) ? result["interfaces"] : undefined;
  if (!isJsonArray(interfaces)) return "";
  for (const one of interfaces) {
    if (!isJsonObject(one) || one["name"] !== ifname) continue;
    const { sandbox } = one;
    if (isText(sandbox) && sandbox !== "") return sandbox;
  }
  return "";
}

function fromText(text: string): Cached | undefined {
  const value = parseJson(text);
  if (!isJsonObject(value) || value["kind"] !== kind) return undefined;
  const { containerId, ifName, networkName, netns, config, cniArgs, capabilityArgs, result } =
    value;
  if (!isText(containerId) || !isText(ifName) || !isText(networkName)) return undefined;
  return {
    containerId,
    ifname: ifName,
    network: networkName,
    netns: isText(netns) ? netns : sandboxIn(result, ifName),
    args: isJsonArray(cniArgs) ? cniArgs.flatMap(readArg) : [],
    capabilityArgs: isJsonObject(capabilityArgs) ? capabilityArgs : {},
    result: isJsonObject(result) ? result : undefined,
    config: isText(config) ? Buffer.from(config, "base64").toString() : "",
  };
}

function isText(value: Json | undefined): value is string {
  return typeof value === "string" && value !== "";
}

function readArg(pair: Json): Arg[] {
  const [key, value] = isJsonArray(pair) ? pair : [];
  return typeof key === "string" && typeof value === "string" ? [[key, value]] : [];
}
