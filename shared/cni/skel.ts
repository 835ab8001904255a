import type { Kernel } from "../node/node.ts";
import type { Sys } from "../runtime/sys.ts";
import { isJsonObject } from "../base/json.ts";
import type { Json, JsonObject } from "../base/json.ts";
import type { SealedPlugin } from "./invoke.ts";
import { Delegator } from "./delegator.ts";
import { asCniError, CniError, Code, messageOf } from "./error.ts";
import { quote, readRequest } from "./request.ts";
import type { Request } from "./request.ts";
import type { Result } from "./result.ts";
import { parseJson } from "./json.ts";
import { versionOf, versions, writeResult } from "./version.ts";
import type { Version } from "./version.ts";

/** Bytes of a config. The longest real ones, GC's on a node full of pods, have some 100 KB. */
const maxConfig = 8 * 1024 * 1024;

/** Set at build time from package.json. */
declare const FLANNEL_CNI_VERSION: string;

/**
 * One call of one plugin: from environment and stdin to stdout and the exit code. Nothing else
 * writes to stdout or ends the process.
 */
export async function run(kernel: Kernel, plugins: readonly SealedPlugin[]): Promise<never> {
  const { sys } = kernel;
  const held = new Map(plugins.map((plugin) => [plugin.name, plugin]));
  const name = sys.argv0.slice(sys.argv0.lastIndexOf("/") + 1);
  if ((sys.env["CNI_COMMAND"] ?? "") === "") {
    sys.write(2, about(name, held));
    return sys.exit(1);
  }
  let version: Version | undefined;
  try {
    const plugin = choose(name, held);
    const request = readRequest(sys.env);
    const raw = request.verb === "VERSION" ? {} : readConfig(sys);
    version = versionOf(raw);
    await call(kernel, plugin, request, raw, held);
    return sys.exit(0);
  } catch (thrown) {
    const error = codedError(thrown);
    const { code, message, details } = error;
    printIfRead(sys, { cniVersion: version ?? "1.1.0", code, msg: message, details });
    return sys.exit(1);
  }
}

async function call(
  kernel: Kernel,
  plugin: SealedPlugin,
  request: Request,
  raw: JsonObject,
  held: ReadonlyMap<string, SealedPlugin>,
): Promise<void> {
  if (request.verb === "VERSION") {
    print(kernel.sys, { cniVersion: "1.1.0", supportedVersions: versions });
    return;
  }
  const warn = (line: string): void => {
    kernel.sys.write(2, `${plugin.name}: ${line.replaceAll("\n", " ")}\n`);
  };
  const delegate = new Delegator(request, kernel, held, warn);
  const deliver = (result: Result, version: Version): void => {
    print(kernel.sys, writeResult(result, version));
  };
  await plugin.call(request, raw, { kernel, delegate, warn, deliver });
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

function choose(name: string, held: ReadonlyMap<string, SealedPlugin>): SealedPlugin {
  const plugin = held.get(name);
  if (plugin !== undefined) return plugin;
  throw new CniError(
    Code.InvalidEnvironment,
    `Cannot tell which plugin to be: the executable is called ${quote(name)}.`,
    `Name the file, or a link to it, after one of the plugins it holds: ${[...held.keys()].join(", ")}.`,
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

function about(name: string, held: ReadonlyMap<string, SealedPlugin>): string {
  return [
    `flannel-cni ${FLANNEL_CNI_VERSION}, called as ${name}`,
    `Plugins held: ${[...held.keys()].join(", ")}`,
    `CNI protocol versions supported: ${versions.join(", ")}`,
    "",
  ].join("\n");
}
