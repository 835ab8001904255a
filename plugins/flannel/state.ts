import { CniError, Code } from "../../shared/cni/error.ts";
import { messageOf } from "../../shared/base/failure.ts";
import { isJsonObject, parseJson } from "../../shared/base/json.ts";
import type { Attachment } from "../../shared/cni/request.ts";
import {
  createFile,
  ensureFolder,
  isAbandoned,
  listIfPresent,
  readIfPresent,
  removeIfPresent,
  replaceFile,
} from "../../shared/files/files.ts";
import type { Attributes } from "../../shared/files/attributes.ts";
import type { Json } from "../../shared/base/json.ts";
import { isDelegateType } from "./conf.ts";
import type { DelegateConf } from "./delegate_conf.ts";

/**
 * The configs that were delegated, for their DEL: by then flanneld may have written others.
 *
 * The file of a container's first interface has the container's id for a name, as the reference
 * plugin has it, so that either plugin understands what the other has left. That of any further
 * interface has the interface's name as well, after a colon, which neither of the two may hold. An
 * extended attribute says whose the first is, which the reference plugin does not come across.
 */
export interface State {
  readonly path: string;
  /** The config, or undefined if the file is damaged. */
  readonly config: DelegateConf | undefined;
}

/** Which interface a state file is of, where the file system keeps extended attributes. */
const ifnameAttribute = "user.flannel-cni.ifname";

/** What {@link saveState} has done. */
export interface Saved {
  readonly path: string;
  /** Puts back what was there. */
  readonly undo: () => void;
}

/**
 * Stores a config. The file of another interface is left alone, and a reader never sees half a one.
 * What an ADD of the same interface has left, which did not come to its end, is replaced.
 * @throws CniError IoFailure
 */
export function saveState(
  node: Attributes,
  dataDir: string,
  of: Attachment,
  config: DelegateConf,
): Saved {
  const text = JSON.stringify(config);
  const first = `${dataDir}/${of.containerId}`;
  return attempt(`write the state file ${first}`, () => {
    const mark = (path: string): void => {
      node.setAttribute(path, ifnameAttribute, of.ifname);
    };
    ensureFolder(dataDir, 0o700);
    if (createFile(first, text, 0o600, mark)) return { path: first, undo: remover(first) };
    const isOwn = node.attribute(first, ifnameAttribute) === of.ifname;
    const path = isOwn ? first : `${first}:${of.ifname}`;
    const before = readIfPresent(path);
    replaceFile(path, text, 0o600, mark);
    const putBack = (): void => {
      if (before === undefined) removeState(path);
      else
        attempt(`restore ${path}`, () => {
          replaceFile(path, before, 0o600, mark);
        });
    };
    return { path, undo: putBack };
  });
}

function remover(path: string): () => void {
  return () => {
    removeState(path);
  };
}

/**
 * Looks for what was stored for an interface of a network. A file of the container's id alone that
 * says nothing of an interface, as the reference plugin's, is taken for this one's unless this one
 * has its own.
 */
export function findState(
  node: Attributes,
  dataDir: string,
  of: Attachment,
  network: string,
): State | undefined {
  const first = `${dataDir}/${of.containerId}`;
  const ifname = node.attribute(first, ifnameAttribute) ?? of.ifname;
  const shared = ifname === of.ifname ? readState(first) : undefined;
  const own = readState(`${first}:${of.ifname}`) ?? shared;
  return own?.config === undefined || own.config["name"] === network ? own : undefined;
}

/** Removes a state file, which may be gone. @throws CniError IoFailure */
export function removeState(path: string): void {
  attempt(`remove the state file ${path}`, () => removeIfPresent(path));
}

/**
 * Removes what calls for an interface have left that were killed: what they were writing, and the
 * state of an ADD that was begun anew.
 * @throws CniError IoFailure
 */
export function sweepStates(
  node: Attributes,
  dataDir: string,
  { containerId, ifname }: Attachment,
): void {
  const first = `${dataDir}/${containerId}`;
  if (node.attribute(first, ifnameAttribute) === ifname) removeState(first);
  attempt(`clear the state files in ${dataDir}`, () => {
    for (const name of listIfPresent(dataDir)) {
      const own = name.startsWith(`.${containerId}.`) || name.startsWith(`.${containerId}:`);
      if (own && isAbandoned(name)) removeIfPresent(`${dataDir}/${name}`);
    }
  });
}

/**
 * Removes the network's state files that belong to none of the valid attachments.
 * @throws CniError IoFailure
 */
export function collectStates(
  dataDir: string,
  network: string,
  valid: readonly Attachment[],
): void {
  const names = attempt(`list the state files in ${dataDir}`, () => listIfPresent(dataDir));
  const isValid = (name: string): boolean => {
    const [containerId, ifname] = name.split(":");
    return valid.some(
      (known) =>
        known.containerId === containerId && (ifname === undefined || known.ifname === ifname),
    );
  };
  for (const name of names) {
    const path = `${dataDir}/${name}`;
    if (isAbandoned(name)) removeState(path);
    // A temporary file of a call that is running.
    if (name.startsWith(".") || isValid(name)) continue;
    if (readState(path)?.config?.["name"] === network) removeState(path);
  }
}

/** @returns undefined if there is no such file. */
function readState(path: string): State | undefined {
  try {
    const text = readIfPresent(path);
    if (text === undefined) return undefined;
    const value = parseJson(text);
    return { path, config: isDelegateConf(value) ? value : undefined };
  } catch {
    // A file that cannot be read is of no more use than one with nothing in it.
    return { path, config: undefined };
  }
}

function isDelegateConf(value: Json | undefined): value is DelegateConf {
  return isJsonObject(value) && isDelegateType(value["type"]);
}

function attempt<T>(what: string, action: () => T): T {
  try {
    return action();
  } catch (cause) {
    throw new CniError(
      Code.IoFailure,
      `Cannot ${what}: ${messageOf(cause)}.`,
      "See whether its folder can be written to and the disk has space and inodes left. dataDir in the network config names another folder.",
      { cause },
    );
  }
}
