import { statSync } from "node:fs";

import { CniError, Code } from "../cni/error.ts";
import { errnoOf, messageOf } from "../base/failure.ts";
import { isJsonArray, isJsonObject, parseJson } from "../base/json.ts";
import { withExactKeys } from "../base/json_keys.ts";
import { quote } from "../base/text.ts";
import { validateCachedAttachment } from "../../schemas/generated/validators.js";
import { argProblem, idProblem, ifnameProblem, nulProblem } from "../cni/request.ts";
import type { Attachment } from "../cni/request.ts";
import { ensureFolder, listIfPresent, removeIfPresent, replaceFile } from "../files/files.ts";
import { isNoUsableFile, readIfPresent } from "../files/read_file.ts";
import type { Json, JsonObject } from "../base/json.ts";
import { keptResultName, resultsFolder } from "../files/paths.ts";

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

/** A file in the place of a cached attachment that cannot be used as one. */
export interface DamagedFile {
  readonly file: string;
  /** What is wrong with it, to follow "it". */
  readonly problem: string;
}

const kind = "cniCacheV1";

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

  /** What is cached of an attachment. What cannot be read counts as absent, as in libcni. */
  read(network: string, attachment: Attachment): CachedFile | undefined {
    const entry = this.entry(network, attachment);
    return entry !== undefined && "containerId" in entry ? entry : undefined;
  }

  /** What is cached of an attachment, or why it cannot be read. */
  entry(network: string, attachment: Attachment): CachedFile | DamagedFile | undefined {
    return this.#readEntry(keptResultName(network, attachment));
  }

  /** All that is cached, in the order of the files' names. */
  list(): CachedFile[] {
    return this.entries().filter((entry) => "containerId" in entry);
  }

  /**
   * All files, in the order of their names. Those that are damaged belong to attachments as well,
   * which {@link attachmentsNamed} tells by the name.
   * @throws CniError IoFailure
   */
  entries(): (CachedFile | DamagedFile)[] {
    return this.#attempt(() => listIfPresent(this.folder))
      .filter((name) => !name.startsWith("."))
      .toSorted()
      .flatMap((name) => this.#readEntry(name) ?? []);
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
    const file = `${this.folder}/${keptResultName(network, cached)}`;
    this.#attempt(() => {
      ensureFolder(this.folder, 0o700);
      refuseFolder("replace", file, () => {
        replaceFile(file, text, 0o600);
      });
    });
  }

  /** @throws CniError IoFailure */
  remove(network: string, attachment: Attachment): void {
    if (this.#readOnly) return;
    const file = `${this.folder}/${keptResultName(network, attachment)}`;
    this.#attempt(() => {
      refuseFolder("remove", file, () => removeIfPresent(file));
    });
  }

  #readEntry(name: string): CachedFile | DamagedFile | undefined {
    const file = `${this.folder}/${name}`;
    try {
      const text = readIfPresent(file);
      if (text === undefined) return undefined;
      return { ...fromText(text), file, since: statSync(file).mtime };
    } catch (error) {
      return { file, problem: whyUnusable(error) };
    }
  }

  #attempt<T>(action: () => T): T {
    try {
      return action();
    } catch (cause) {
      if (cause instanceof CniError) throw cause;
      throw new CniError(
        Code.IoFailure,
        `Cannot keep results in ${this.folder}: ${messageOf(cause)}.`,
        "Make sure that it is a folder that root can write to, and that its disk is neither full nor read-only.",
        { cause },
      );
    }
  }
}

/** Names a folder that is in the place of a result, and is left for someone to look into. */
function refuseFolder(verb: string, file: string, action: () => void): void {
  try {
    action();
  } catch (cause) {
    if (errnoOf(cause) !== "EISDIR") throw cause;
    throw new CniError(
      Code.IoFailure,
      `Cannot ${verb} the result ${file}: it must be a file (got a folder).`,
      `Remove it: rm -r ${file}.`,
      { cause },
    );
  }
}

/** The interface's namespace by its result: libcni, up to 1.1, keeps it nowhere else. */
function sandboxIn(result: Json | undefined, ifname: string): string {
  const interfaces = isJsonObject(result) ? result["interfaces"] : undefined;
  if (!isJsonArray(interfaces)) return "";
  for (const item of interfaces) {
    if (!isJsonObject(item) || item["name"] !== ifname) continue;
    const { sandbox } = item;
    if (isText(sandbox) && sandbox !== "") return sandbox;
  }
  return "";
}

/** What is wrong with a cached attachment. */
class Damage extends Error {}

/** Why a cached attachment cannot be used, to follow "it". */
function whyUnusable(error: unknown): string {
  if (isNoUsableFile(error)) return error.problem;
  return error instanceof Damage ? error.message : `cannot be read (${messageOf(error)})`;
}

/**
 * Reads a cached attachment. Its values become names of files, rules of the firewall and variables
 * of plugins, so they are checked as those of a call's environment are.
 * @throws Damage
 */
function fromText(text: string): Cached {
  const value = withExactKeys(parseJson(text) ?? null, validateCachedAttachment.keys);
  if (!isJsonObject(value))
    throw new Damage(text.trim() === "" ? "is empty" : "is not a JSON object");
  if (value["kind"] !== kind) throw new Damage(`has no "kind": "${kind}"`);
  const { result, config, cniArgs, capabilityArgs } = value;
  const ifname = checked("ifName", value["ifName"], ifnameProblem);
  const netns = isText(value["netns"]) ? value["netns"] : sandboxIn(result, ifname);
  return {
    containerId: checked("containerId", value["containerId"], idProblem),
    ifname,
    network: checked("networkName", value["networkName"], idProblem),
    netns: netns === "" ? "" : checked("netns", netns, pathProblem),
    args: isJsonArray(cniArgs) ? cniArgs.map(readArg) : [],
    capabilityArgs: isJsonObject(capabilityArgs) ? capabilityArgs : {},
    result: isJsonObject(result) ? result : undefined,
    config: isText(config) ? Buffer.from(config, "base64").toString() : "",
  };
}

/** @throws Damage */
function checked(
  key: string,
  value: Json | undefined,
  problemOf: (value: string) => string | undefined,
): string {
  if (!isText(value)) throw new Damage(`has no ${key}`);
  const problem = problemOf(value);
  if (problem === undefined) return value;
  throw new Damage(`has the ${key} ${quote(value)}, which ${problem}`);
}

function pathProblem(value: string): string | undefined {
  return value.startsWith("/") ? nulProblem(value) : "is no absolute path";
}

function isText(value: Json | undefined): value is string {
  return typeof value === "string" && value !== "";
}

/** @throws Damage */
function readArg(pair: Json): Arg {
  const [key, value] = isJsonArray(pair) ? pair : [];
  if (typeof key !== "string" || typeof value !== "string") {
    throw new Damage("has cniArgs that are not pairs of strings");
  }
  const problem = argProblem(key, value);
  if (problem === undefined) return [key, value];
  throw new Damage(`has the argument ${quote(`${key}=${value}`)} in cniArgs, which ${problem}`);
}

/**
 * The attachments that a file of the cache can be of, by its name alone: with hyphens in names and ids
 * there may be several.
 */
export function attachmentsNamed(file: string): (Attachment & { readonly network: string })[] {
  const name = file.slice(file.lastIndexOf("/") + 1);
  const hyphens = [...name.matchAll(/-/g)].map(({ index }) => index);
  return hyphens.flatMap((first) =>
    hyphens.flatMap((second) => {
      const network = name.slice(0, first);
      const containerId = name.slice(first + 1, second);
      const ifname = name.slice(second + 1);
      const isPossible =
        second > first &&
        idProblem(network) === undefined &&
        idProblem(containerId) === undefined &&
        ifname !== "" &&
        ifnameProblem(ifname) === undefined;
      return isPossible ? [{ network, containerId, ifname }] : [];
    }),
  );
}
