import { Firewall } from "../firewall/firewall.ts";
import { Node } from "../node/node.ts";
import type { Sys } from "../runtime/sys.ts";
import { isJsonObject, parseJson } from "../base/json.ts";
import type { Json, JsonObject } from "../base/json.ts";
import type { Handler } from "./handler.ts";
import { DelegateInvoker } from "./delegate_invoker.ts";
import { asCniError, CniError, Code } from "./error.ts";
import { messageOf } from "../base/failure.ts";
import { readRequest } from "./request.ts";
import { printable, quote } from "../base/text.ts";
import type { Request } from "./request.ts";
import type { Result } from "./result.ts";
import { versionOf, versions, writeResult } from "./version.ts";
import type { Version } from "./version.ts";

/** Bytes of a config. The longest real ones, GC's on a node full of pods, have some 100 KB. */
const maxConfig = 8 * 1024 * 1024;

/** Set at build time from package.json. */
declare const FLANNEL_CNI_VERSION: string;

/**
 * One call of one plugin: from environment and stdin to stdout and the exit status. Nothing else
 * writes to stdout. What the call opens is closed when it is over.
 * @returns the exit status.
 */
export async function dispatch(sys: Sys, plugins: readonly Handler[]): Promise<number> {
  const builtins = new Map(plugins.map((plugin) => [plugin.name, plugin]));
  const name = sys.argv0.slice(sys.argv0.lastIndexOf("/") + 1);
  if ((sys.env["CNI_COMMAND"] ?? "") === "") {
    sys.write(2, about(name, builtins));
    return 1;
  }
  let version: Version | undefined;
  try {
    const plugin = choose(name, builtins);
    const request = readRequest(sys.env);
    if (request.verb === "VERSION") {
      print(sys, { cniVersion: "1.1.0", supportedVersions: versions });
      return 0;
    }
    const raw = readConfig(sys);
    version = versionOf(raw);
    await call(sys, plugin, request, raw, builtins);
    return 0;
  } catch (thrown) {
    const { code, message, details } = codedError(thrown);
    printIfRead(sys, { cniVersion: version ?? "1.1.0", code, msg: message, details });
    return 1;
  }
}

async function call(
  sys: Sys,
  plugin: Handler,
  request: Request,
  raw: JsonObject,
  builtins: ReadonlyMap<string, Handler>,
): Promise<void> {
  const warn = (line: string): void => {
    sys.write(2, `${plugin.name}: ${printable(line)}\n`);
  };
  const deliver = (result: Result, version: Version): void => {
    print(sys, writeResult(result, version));
  };
  const node = new Node(sys);
  const firewall = new Firewall(sys);
  try {
    const env = { node, firewall, warn };
    const delegate = new DelegateInvoker(request, env, builtins);
    await plugin.call(request, raw, { ...env, delegate, deliver });
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
      ? "Cannot read the network config: stdin is empty."
      : value === undefined
        ? `Cannot read the network config: stdin is no JSON (it begins with ${quote(text.slice(0, 32))}).`
        : "Cannot read the network config: stdin is JSON, but no object.",
    "A plugin reads its network config from stdin. By hand, use cnitool, or redirect a file to stdin.",
  );
}

function readText(sys: Sys): string {
  try {
    return sys.readStdin(maxConfig);
  } catch (cause) {
    if (cause instanceof RangeError) {
      throw new CniError(
        Code.DecodingFailure,
        `Cannot read the network config: it is longer than ${String(maxConfig / 1024 / 1024)} MB.`,
        "No network config is that long: see what is connected to stdin.",
        { cause },
      );
    }
    throw new CniError(
      Code.IoFailure,
      `Cannot read the network config from stdin: ${messageOf(cause)}.`,
      "See that the caller keeps stdin open until the config is written.",
      { cause },
    );
  }
}

function choose(name: string, builtins: ReadonlyMap<string, Handler>): Handler {
  const plugin = builtins.get(name);
  if (plugin !== undefined) return plugin;
  throw new CniError(
    Code.InvalidEnvironment,
    `Cannot tell which plugin to be: the executable is called ${quote(name)}.`,
    `Name the file, or a link to it, after one of the plugins it holds: ${[...builtins.keys()].join(", ")}.`,
  );
}

function codedError(thrown: unknown): CniError {
  if (thrown instanceof RangeError && thrown.message.includes("call stack")) {
    return new CniError(
      Code.DecodingFailure,
      "Cannot use the network config: it is nested too deeply.",
      "No network config is nested more than some ten levels: see what wrote it.",
      { cause: thrown },
    );
  }
  try {
    return asCniError(thrown);
  } catch {
    return new CniError(
      Code.Internal,
      `Cannot go on: ${messageOf(thrown)}.`,
      "This is a defect of the plugin. Please report it with the network config and this message.",
      { cause: thrown },
    );
  }
}

function print(sys: Sys, value: Json): void {
  sys.write(1, `${JSON.stringify(value, undefined, 4)}\n`);
}

/** Prints to a caller that may have gone, to whom nothing can be said then. */
function printIfRead(sys: Sys, value: Json): void {
  try {
    print(sys, value);
  } catch {
    // The exit code says the rest.
  }
}

function about(name: string, builtins: ReadonlyMap<string, Handler>): string {
  return [
    `flannel-cni ${FLANNEL_CNI_VERSION}, called as ${printable(name)}`,
    `Plugins held: ${[...builtins.keys()].join(", ")}`,
    `CNI protocol versions supported: ${versions.join(", ")}`,
    "",
  ].join("\n");
}
