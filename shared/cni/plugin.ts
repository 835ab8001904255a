import type { Firewall } from "../firewall/firewall.ts";
import type { Node } from "../node/node.ts";
import type { JsonObject } from "../base/json.ts";
import type { Delegate } from "./delegate.ts";
import type { Attachment, Request } from "./request.ts";
import type { Result } from "./result.ts";
import type { Undo } from "./undo.ts";
import type { Version } from "./version.ts";

/** What a verb is called with. */
export interface Context<Conf> {
  /** The environment of the call, validated. */
  readonly request: Request;
  /** The config as {@link Plugin.parse} returned it. */
  readonly conf: Conf;
  /** The config as it came, for handing on to IPAM plugins, which get the whole of it. */
  readonly raw: JsonObject;
  /** The config's CNI version. */
  readonly version: Version;
  /** What the plugins before this one have made, if the runtime said so. */
  readonly prevResult: Result | undefined;
  readonly node: Node;
  readonly firewall: Firewall;
  readonly delegate: Delegate;
  /** What to do, latest first, if the verb throws. */
  readonly undo: Undo;
  /** Says something to the operator: one line on stderr. */
  readonly warn: (line: string) => void;
}

/**
 * One CNI plugin. Verbs return or throw {@link CniError}; none writes to stdout, reads the
 * environment or ends the process: run.ts does.
 */
export interface Plugin<Conf> {
  /** The name that the executable is called by, and that `type` has in a config. */
  readonly name: string;
  /**
   * Turns the config into a typed one.
   * @throws CniError InvalidNetworkConfig, naming the path and the value.
   */
  parse(raw: JsonObject, request: Request): Conf;
  /** Adds the container to the network, or changes what was added. */
  add(context: Context<Conf>): Promise<Result>;
  /** Takes away what ADD made. What is not there is fine. */
  del(context: Context<Conf>): Promise<void>;
  /** @throws CniError CheckFailed when the container's network is not as ADD made it. */
  check(context: Context<Conf>): Promise<void>;
  /** Takes away what belongs to none of the valid attachments (1.1.0). */
  gc(context: Context<Conf>, valid: readonly Attachment[]): Promise<void>;
  /** @throws CniError PluginNotAvailable or LimitedConnectivity when ADD would fail (1.1.0). */
  status(context: Context<Conf>): Promise<void>;
  /**
   * Puts back those of the container's rules that something has flushed, a reload of the node's
   * firewall for one. No verb of CNI: it is called with a CHECK's context.
   * @param dryRun for saying what is missing, and changing nothing.
   * @returns what was missing, in words that follow "rules are missing:"; nothing in most cases.
   * @throws CniError what could not be put back.
   */
  repair?(context: Context<Conf>, dryRun: boolean): Promise<readonly string[]>;
}
