import type { JsonObject } from "../base/json.ts";
import type { Attachment } from "./request.ts";
import type { Result } from "./result.ts";

/**
 * Another plugin, reached by the `type` of its config. One that this executable holds runs in the
 * same process; any other is looked up in CNI_PATH and executed, with a bound on its time.
 *
 * Each verb throws the delegate's own CniError, code and all, or one with code Delegate when it
 * could not be run or answered with something that is no CNI answer.
 */
export interface Delegate {
  add(type: string, conf: JsonObject): Promise<Result>;
  del(type: string, conf: JsonObject): Promise<void>;
  check(type: string, conf: JsonObject): Promise<void>;
  gc(type: string, conf: JsonObject, valid: readonly Attachment[]): Promise<void>;
  status(type: string, conf: JsonObject): Promise<void>;
  /** See plugin.ts. A delegate that is not held has nothing to say. */
  repair(type: string, conf: JsonObject, dryRun: boolean): Promise<readonly string[]>;
}
