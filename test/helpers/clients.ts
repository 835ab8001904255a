/** The clients of the agent under test. */
import { existsSync } from "node:fs";
import { basename, resolve } from "node:path";
import { pathOf } from "../lab/requirements.ts";
import { binDir } from "./executables.ts";
import { isBun } from "./form.ts";

export interface Client {
  readonly name: string;
  /** The folder where the plugins' names are the client's. */
  readonly bin: string;
}

/** The native client, where it can be built, and the executable: it begins with that, or has one in JavaScript. */
export function clients(): readonly Client[] {
  const native = resolve("dist/client", basename(binDir()));
  const isBuilt = existsSync(native) || pathOf("wasm2c") !== undefined;
  return [
    ...(isBuilt ? [{ name: "native client", bin: native }] : []),
    ...(isBun || isBuilt ? [{ name: "executable", bin: binDir() }] : []),
  ];
}
