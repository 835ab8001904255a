import type { Firewall } from "../firewall/firewall.ts";
import type { Node } from "../node/node.ts";
import type { JsonObject } from "../base/json.ts";
import type { Validator } from "./conf.ts";
import type { Delegate } from "./delegate.ts";
import type { Attachment, Request } from "./request.ts";
import type { Result } from "./result.ts";
import type { Undo } from "./undo.ts";
import type { Version } from "./version.ts";

/** What a verb is called with. */
export interface Context<Conf> {
  /** The call's environment, validated. */
  readonly request: Request;
  /** The config as {@link Plugin.parse} returned it. */
  readonly conf: Conf;
  /** The whole config, which IPAM plugins are given. Keys that the plugin knows are spelled right. */
  readonly raw: JsonObject;
  /** The config's CNI version. */
  readonly version: Version;
  /** What the plugins before this one have made, if the runtime passed it. */
  readonly prevResult: Result | undefined;
  readonly node: Node;
  readonly firewall: Firewall;
  readonly delegate: Delegate;
  /** What to do, latest first, if the verb throws. */
  readonly undo: Undo;
  /** Prints a line on stderr. */
  readonly warn: (line: string) => void;
}

/**
 * A CNI plugin. Its verbs return or throw a {@link CniError} or a Failure. None of them writes to
 * stdout, reads the environment or ends the process: skel.ts does.
 */
export interface Plugin<Conf> {
  /** The name that the executable is called by, and that `type` has in a config. */
  readonly name: string;
  /** Of the config's schema: what is wrong by it, DEL and GC do without. */
  readonly validator: Validator<unknown>;
  /**
   * Turns the config into a typed one.
   * @param warn is told what is wrong that this verb does not need.
   * @throws CniError InvalidNetworkConfig, naming the path and the value.
   */
  parse(raw: JsonObject, request: Request, warn: (problem: string) => void): Conf;
  /** Adds the container to the network, or changes what was added. */
  add(context: Context<Conf>): Promise<Result>;
  /** Removes what ADD made, as far as it is there. */
  del(context: Context<Conf>): Promise<void>;
  /** @throws CniError CheckFailed when the container's network is not as ADD made it. */
  check(context: Context<Conf>): Promise<void>;
  /** Removes what belongs to none of the valid attachments (1.1.0). */
  gc(context: Context<Conf>, valid: readonly Attachment[]): Promise<void>;
  /** @throws CniError PluginNotAvailable or LimitedConnectivity when ADD would fail (1.1.0). */
  status(context: Context<Conf>): Promise<void>;
  /**
   * Restores those of the container's rules that something has flushed, such as a reload of the node's
   * firewall. It is not a verb of CNI, and is called with the context of a CHECK.
   * @param dryRun changes nothing.
   * @returns what was missing, in words that follow "rules are missing:".
   * @throws CniError what could not be restored.
   */
  repair?(context: Context<Conf>, dryRun: boolean): Promise<readonly string[]>;
}
