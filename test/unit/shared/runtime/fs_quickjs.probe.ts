/** What replaces node:fs, in QuickJS: `outcomes` of globalThis. */
import { hostRegisters } from "../../../../shared/runtime/globals_quickjs.ts";
import * as fs from "node:fs";
import { fsOutcomes } from "./fs_outcomes.ts";

Object.assign(globalThis, {
  hostRegisters,
  outcomes: (folder: string) => JSON.stringify(fsOutcomes(fs, folder)),
});
