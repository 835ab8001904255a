import { CniError, Code } from "../../shared/cni/error.ts";
import { messageOf } from "../../shared/base/failure.ts";
import { isJsonObject, parseJson } from "../../shared/base/json.ts";
import { withExactKeys } from "../../shared/base/json_keys.ts";
import { validatePlugin } from "../../schemas/generated/validators.js";
import type { Attachment } from "../../shared/cni/request.ts";
import {
  createFile,
  ensureFolder,
  isAbandoned,
  listIfPresent,
  removeIfPresent,
  replaceFile,
} from "../../shared/files/files.ts";
import { readIfPresent } from "../../shared/files/read_file.ts";
import type { Attributes } from "../../shared/files/attributes.ts";
import type { Json } from "../../shared/base/json.ts";
import { isDelegateType } from "./conf.ts";
import type { DelegateConf } from "./delegate_conf.ts";

/**
 * The delegates' configs, kept for DEL: by then flanneld may have written another subnet.
 *
 * The file of a container's first interface has the container's id for its name, as with the
 * reference plugin, so that either plugin understands the other's. An extended attribute says which
 * interface that is. The name of the file of any other interface has that interface's name after a
 * colon, which neither an id nor an interface's name can have in it.
 */
export interface State {
  readonly path: string;
  /** The config, or undefined if the file is damaged. */
  readonly config: DelegateConf | undefined;
}

/** The extended attribute that says which interface a state file is of. */
const ifnameAttribute = "user.flannel-cni.ifname";

/** Bytes that a state file may have. Real ones have some hundred. */
const maxStateBytes = 1024 * 1024;

/** What {@link saveState} did. */
export interface Saved {
  readonly path: string;
  /** Restores what was there before. */
  readonly undo: () => void;
}

/**
 * Stores a config in one step. What a killed ADD of the same interface left is replaced; the file of
 * another interface is left alone.
 * @throws CniError IoFailure
 */
export function saveState(
  node: Attributes,
  dataDir: string,
  attachment: Attachment,
  config: DelegateConf,
): Saved {
  const text = JSON.stringify(config);
  const first = `${dataDir}/${attachment.containerId}`;
  return attempt(`write the state file ${first}`, () => {
    const mark = (path: string): void => {
      node.setAttribute(path, ifnameAttribute, attachment.ifname);
    };
    ensureFolder(dataDir, 0o700);
    if (createFile(first, text, 0o600, mark)) return { path: first, undo: remover(first) };
    const isOwn = node.attribute(first, ifnameAttribute) === attachment.ifname;
    const path = isOwn ? first : `${first}:${attachment.ifname}`;
    const before = readText(path);
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
 * Finds what was stored for an interface of a network. If the interface has no file of its own, that of
 * the container is taken, unless it says that it is another interface's. The reference plugin's file
 * does not tell.
 */
export function findState(
  node: Attributes,
  dataDir: string,
  attachment: Attachment,
  network: string,
): State | undefined {
  const first = `${dataDir}/${attachment.containerId}`;
  const ifname = node.attribute(first, ifnameAttribute) ?? attachment.ifname;
  const shared = ifname === attachment.ifname ? readState(first) : undefined;
  const state = readState(`${first}:${attachment.ifname}`) ?? shared;
  return state?.config === undefined || state.config["name"] === network ? state : undefined;
}

/** Removes a state file, if it is there. @throws CniError IoFailure */
export function removeState(path: string): void {
  attempt(`remove the state file ${path}`, () => removeIfPresent(path));
}

/**
 * Removes what killed calls for an interface left: their temporary files, and the state of an ADD that
 * was repeated.
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
      const isContainers =
        name.startsWith(`.${containerId}.`) || name.startsWith(`.${containerId}:`);
      if (isContainers && isAbandoned(name)) removeIfPresent(`${dataDir}/${name}`);
    }
  });
}

/**
 * Removes the network's state files that belong to none of the valid attachments. One that cannot be
 * read may be a live container's, and stays until that one's DEL.
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
    // Other names that begin with a dot belong to running calls.
    if (name.startsWith(".") || isValid(name)) continue;
    if (readState(path)?.config?.["name"] === network) removeState(path);
  }
}

/** @returns undefined if there is no such file. */
function readState(path: string): State | undefined {
  try {
    const text = readText(path);
    if (text === undefined) return undefined;
    const value = withExactKeys(parseJson(text) ?? null, validatePlugin.keys);
    return { path, config: isDelegateConf(value) ? value : undefined };
  } catch {
    // Damaged, as far as it matters here.
    return { path, config: undefined };
  }
}

function readText(path: string): string | undefined {
  return readIfPresent(path, { maxBytes: maxStateBytes, followsLink: false });
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
      "Make sure that its folder is writable, and that the disk has space and inodes left. dataDir in the network config names the folder.",
      { cause },
    );
  }
}
