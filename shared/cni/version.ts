import type { JsonObject } from "../base/json.ts";
import { quote } from "../base/text.ts";
import { CniError, Code } from "./error.ts";
import type { Verb } from "./request.ts";

/** The CNI versions supported, oldest first. */
export const versions = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"] as const;

export type Version = (typeof versions)[number];

/** The version of an answer to an unknown config. */
export const newestVersion: Version = "1.1.0";

/**
 * The version of a config or result. Without one it is 0.1.0, as in libcni.
 * @param what names the config or result in messages.
 * @throws CniError IncompatibleVersion for one that is not supported, DecodingFailure for a value that
 *   is not a string.
 */
export function versionOf(value: JsonObject, what: string = "the network config"): Version {
  const text = value["cniVersion"] ?? "";
  if (typeof text !== "string") {
    throw new CniError(
      Code.DecodingFailure,
      `Cannot read ${what}: cniVersion must be a string.`,
      'Write it in quotes, such as "1.0.0".',
    );
  }
  const version = text === "" ? "0.1.0" : versions.find((known) => known === text);
  if (version !== undefined) return version;
  throw new CniError(
    Code.IncompatibleVersion,
    `Cannot use ${what}: cniVersion must be a version that this plugin supports (got ${quote(text)}).`,
    `Set cniVersion to one of ${versions.join(", ")}.`,
  );
}

/** The version that brought each verb. */
const verbSince: Readonly<Record<Verb, Version>> = {
  ADD: "0.1.0",
  DEL: "0.1.0",
  VERSION: "0.1.0",
  CHECK: "0.4.0",
  GC: "1.1.0",
  STATUS: "1.1.0",
};

/** Whether a version has a verb. */
export function hasVerb(version: Version, verb: Verb): boolean {
  return atLeast(version, verbSince[verb]);
}

/**
 * Refuses a verb that a config's version does not have.
 * @param where names the config for the advice: "the network config".
 * @throws CniError IncompatibleVersion
 */
export function requireVerb(version: Version, verb: Verb, where: string): void {
  if (hasVerb(version, verb)) return;
  throw new CniError(
    Code.IncompatibleVersion,
    `Cannot run ${verb}: cniVersion must be ${verbSince[verb]} or later (got ${quote(version)}).`,
    `Set cniVersion to ${verbSince[verb]} or later in ${where}.`,
  );
}

/** Whether a version is the minimum or later. */
export function atLeast(version: Version, minimum: Version): boolean {
  return versions.indexOf(version) >= versions.indexOf(minimum);
}
