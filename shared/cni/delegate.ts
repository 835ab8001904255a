import type { JsonObject } from "../base/json.ts";
import type { Attachment } from "./request.ts";
import type { Result } from "./result.ts";

/**
 * Other plugins, each called by the `type` of its config. A plugin that is built into this executable
 * runs in the same process. Any other is looked up in CNI_PATH and executed, with a time limit.
 *
 * Each verb throws the delegate's own CniError, code and all, or one with code Delegate when the
 * plugin could not be run or printed something that CNI does not know.
 */
export interface Delegate {
  add(type: string, conf: JsonObject): Promise<Result>;
  del(type: string, conf: JsonObject): Promise<void>;
  check(type: string, conf: JsonObject): Promise<void>;
  gc(type: string, conf: JsonObject, valid: readonly Attachment[]): Promise<void>;
  status(type: string, conf: JsonObject): Promise<void>;
  /** See plugin.ts. A plugin that is not built in has nothing to repair. */
  repair(type: string, conf: JsonObject, dryRun: boolean): Promise<readonly string[]>;
}
