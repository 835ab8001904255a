import { Firewall } from "../firewall/firewall.ts";
import type { FirewallOptions } from "../firewall/firewall.ts";
import { Node } from "../node/node.ts";
import type { NodeOptions } from "../node/node.ts";
import type { Sys } from "../runtime/sys.ts";
import { isDeeperThan, isJsonObject, parseJson } from "../base/json.ts";
import type { Json, JsonObject } from "../base/json.ts";
import { withExactKeys } from "../base/json_keys.ts";
import { isRemoval } from "./handler.ts";
import type { Handler } from "./handler.ts";
import { DelegateInvoker } from "./delegate_invoker.ts";
import { asCniError, CniError, Code } from "./error.ts";
import { messageOf } from "../base/failure.ts";
import { readRequest } from "./request.ts";
import { baseName, printable, quote, withoutFullStop } from "../base/text.ts";
import type { Request } from "./request.ts";
import type { Result } from "./result.ts";
import { newestVersion, versionOf, versions } from "./version.ts";
import { writeResult } from "./result_codec.ts";
import type { Version } from "./version.ts";

/** Bytes of a config. The longest real one, GC's on a node full of pods, has about 100 kB. */
const maxConfig = 8 * 1024 * 1024;

/** Set at build time from package.json. */
declare const FLANNEL_CNI_VERSION: string;

/** What some processes have for their calls, and others not. */
export interface DispatchOptions {
  readonly node?: NodeOptions;
  readonly firewall?: FirewallOptions;
  /** Waits for what must have ended. */
  readonly before?: (sys: Sys, request: Request) => void;
  /** Throws in the place of executing a plugin that is not built in. */
  readonly refuseDelegate?: () => never;
}

/** Hands a call's exit status and stdout to its caller. Throws if the caller is gone. */
type Answer = (code: number, stdout: string) => void;

/**
 * One call of one plugin, from environment and stdin to stdout and the exit status. What the call
 * opens it closes.
 * @param answer is called once, or once more with an error if the first time throws. By default it
 *   prints: nothing else writes to stdout.
 * @returns the exit status.
 */
export async function dispatch(
  sys: Sys,
  plugins: readonly Handler[],
  answer: Answer = printer(sys),
  options: DispatchOptions = {},
): Promise<number> {
  const builtins = new Map(plugins.map((plugin) => [plugin.name, plugin]));
  const name = baseName(sys.argv0);
  if ((sys.env["CNI_COMMAND"] ?? "") === "") {
    sys.write(2, about(name, builtins));
    return 1;
  }
  let version: Version | undefined;
  try {
    const plugin = choose(name, builtins);
    const request = readRequest(sys.env);
    if (request.verb === "VERSION") {
      answer(0, textOf({ cniVersion: newestVersion, supportedVersions: versions }));
      return 0;
    }
    const raw = withExactKeys(readConfig(sys), plugin.keys);
    version = versionOf(raw);
    options.before?.(sys, request);
    await call({ sys, plugin, request, raw, builtins, answer, options });
    return 0;
  } catch (thrown) {
    const error = textOf(errorJson(codedError(thrown), version ?? newestVersion));
    try {
      answer(1, error);
    } catch {
      // Nobody reads it; only the exit status is left.
    }
    return 1;
  }
}

function printer(sys: Sys): Answer {
  return (_code, stdout) => {
    if (stdout !== "") sys.write(1, stdout);
  };
}

interface Call {
  readonly sys: Sys;
  readonly plugin: Handler;
  readonly request: Request;
  readonly raw: JsonObject;
  readonly builtins: ReadonlyMap<string, Handler>;
  readonly answer: Answer;
  readonly options: DispatchOptions;
}

async function call({ sys, plugin, request, raw, builtins, answer, options }: Call): Promise<void> {
  const warn = (line: string): void => {
    sys.write(2, `${plugin.name}: ${printable(line)}\n`);
  };
  const deliver = (result: Result, version: Version): void => {
    answer(0, textOf(writeResult(result, version)));
  };
  const node = new Node(sys, options.node);
  const firewall = new Firewall(sys, options.firewall);
  try {
    const env = { node, firewall, warn, skipped: new Set<string>() };
    const delegate = new DelegateInvoker(request, env, builtins, options.refuseDelegate);
    const conf = isRemoval(request) ? withoutDeepResult(raw, warn) : raw;
    const result = await plugin.call(request, conf, { ...env, delegate, deliver });
    if (result === undefined) answer(0, "");
  } finally {
    firewall.close();
    node.close();
  }
}

/** @throws CniError IoFailure, DecodingFailure */
function readConfig(sys: Sys): JsonObject {
  const text = readText(sys);
  const value = parseJson(text);
  if (isJsonObject(value)) return value;
  throw new CniError(
    Code.DecodingFailure,
    text.trim() === ""
      ? "Cannot read the network config: stdin must not be empty."
      : `Cannot read the network config: stdin must be a JSON object (got ${quote(text)}).`,
    "The caller writes the network config to stdin. By hand, use cnitool, or redirect a file to stdin.",
  );
}

/** Levels that no result has, and any stack has room for. */
const maxLevels = 100;

/** The config without a prevResult that is nested too deeply to be looked at. */
function withoutDeepResult(conf: JsonObject, warn: (line: string) => void): JsonObject {
  const { prevResult, ...rest } = conf;
  if (!isDeeperThan(prevResult, maxLevels)) return conf;
  warn("prevResult is nested too deeply: going on without it.");
  return rest;
}

function readText(sys: Sys): string {
  try {
    return sys.readStdin(maxConfig);
  } catch (cause) {
    if (cause instanceof RangeError) {
      throw new CniError(
        Code.DecodingFailure,
        `Cannot read the network config: stdin must be at most ${String(maxConfig / 1024 / 1024)} MB long.`,
        "No network config is that long: see what is connected to stdin.",
        { cause },
      );
    }
    throw new CniError(
      Code.IoFailure,
      `Cannot read the network config from stdin: ${messageOf(cause)}.`,
      "Make sure that the caller keeps stdin open until the config is written.",
      { cause },
    );
  }
}

function choose(name: string, builtins: ReadonlyMap<string, Handler>): Handler {
  const plugin = builtins.get(name);
  if (plugin !== undefined) return plugin;
  throw new CniError(
    Code.InvalidEnvironment,
    `Cannot choose a plugin: the executable's name must be that of a plugin (got ${quote(name)}).`,
    `Name the file, or a link to it, after a plugin: ${[...builtins.keys()].join(", ")}.`,
  );
}

function codedError(thrown: unknown): CniError {
  if (thrown instanceof RangeError && thrown.message.includes("call stack")) {
    return new CniError(
      Code.DecodingFailure,
      "Cannot use the network config: it must not be nested so deeply.",
      "No network config has more than about ten levels: see what wrote it.",
      { cause: thrown },
    );
  }
  try {
    return asCniError(thrown);
  } catch {
    return new CniError(
      Code.Internal,
      `Cannot go on: ${messageOf(thrown)}.`,
      "This is a bug in the plugin. Please report it with this message and the network config.",
      { cause: thrown },
    );
  }
}

/**
 * An error as CNI prints it. libcni shows "msg; details", so msg is a sentence without its full stop.
 */
function errorJson({ code, message, details }: CniError, cniVersion: Version): JsonObject {
  return { cniVersion, code, msg: withoutFullStop(message), details };
}

function textOf(value: Json): string {
  return `${JSON.stringify(value, undefined, 4)}\n`;
}

function about(name: string, builtins: ReadonlyMap<string, Handler>): string {
  return [
    `flannel-cni ${FLANNEL_CNI_VERSION}, called as ${printable(name)}`,
    `Built-in plugins: ${[...builtins.keys()].join(", ")}`,
    `CNI protocol versions supported: ${versions.join(", ")}`,
    "",
  ].join("\n");
}
