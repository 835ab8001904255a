import { Failure } from "../../../shared/base/failure.ts";
import type { JsonObject } from "../../../shared/base/json.ts";
import { quote } from "../../../shared/base/text.ts";
import type { Backend, Networks } from "./backend.ts";
import { publicAddresses } from "./networks.ts";

/** The commands of net-conf.json's Backend, each as its words; empty where there is none. */
export interface ExtensionCommands {
  /** Before this node has a lease. What it prints is published. */
  readonly preStartup: readonly string[];
  /** Once this node has its lease. */
  readonly postStartup: readonly string[];
  /** For each peer that comes, and each that goes. */
  readonly subnetAdd: readonly string[];
  readonly subnetRemove: readonly string[];
}

/**
 * extension: commands of the administrator's connect the nodes.
 * @param output what the first command has printed; undefined without one.
 */
export function extension(networks: Networks, output: string | undefined): Backend {
  return {
    type: "extension",
    makesRoutes: false,
    mtu: (external) => external.mtu,
    attributes: (external) => ({
      ...publicAddresses(external, networks),
      backendType: "extension",
      backendData: output,
      backendV6Data: undefined,
    }),
    problem: () => undefined,
    devices: () => [],
    asksNextHop: () => false,
    join: () => undefined,
  };
}

/** Reads the Backend object of net-conf.json. @throws Failure invalid */
export function readExtensionCommands(backend: JsonObject): ExtensionCommands {
  return {
    preStartup: wordsOf(backend, "PreStartupCommand"),
    postStartup: wordsOf(backend, "PostStartupCommand"),
    subnetAdd: wordsOf(backend, "SubnetAddCommand"),
    subnetRemove: wordsOf(backend, "SubnetRemoveCommand"),
  };
}

/**
 * What only a shell understands: quotes, `$(...)`, pipes, redirections, and several commands. As
 * words of one command they never do what they say.
 */
const shellWords = /["'`]|\$\(|(?:^|\s)(?:[|&;<>]|\d>|export\s)|;(?:\s|$)/;

function wordsOf(backend: JsonObject, key: string): readonly string[] {
  const { [key]: text } = backend;
  if (typeof text !== "string") return [];
  const [found] = shellWords.exec(text) ?? [];
  if (found !== undefined) {
    throw new Failure(
      "invalid",
      `Cannot use Backend.${key}: flanneld runs commands without a shell, since version 0.28.2, so ${quote(found.trim())} has no meaning in it.`,
      `Put the command into a script on each node, and set Backend.${key} to the script's path.`,
    );
  }
  return text.split(/\s+/).filter((word) => word !== "");
}

/**
 * Expands $NAME and ${NAME} as Go's os.Expand does. A variable that is not set has no text, and a
 * dollar sign before anything else stays.
 */
export function expandVariables(
  text: string,
  env: Readonly<Record<string, string | undefined>>,
): string {
  const reference = /\$(?:\{([^}]*)\}|(\{)|([*#$@!?\-0-9])|(\w+))/g;
  return text.replaceAll(
    reference,
    (
      _: string,
      braced: string | undefined,
      _open: string | undefined,
      special: string | undefined,
      name: string | undefined,
    ) => env[braced ?? special ?? name ?? ""] ?? "",
  );
}
