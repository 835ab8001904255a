/** What the tests of the flannel plugin share. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";

import type { Delegate } from "../../../../shared/cni/delegate.ts";
import type { Context } from "../../../../shared/cni/plugin.ts";
import type { Request, Verb } from "../../../../shared/cni/request.ts";
import { emptyResult } from "../../../../shared/cni/result.ts";
import { UndoStack } from "../../../../shared/cni/undo.ts";
import { versionOf } from "../../../../shared/cni/version.ts";
import { readPrevResult } from "../../../../shared/cni/result_codec.ts";
import { Firewall } from "../../../../shared/firewall/firewall.ts";
import { Node } from "../../../../shared/node/node.ts";
import { sys } from "../../../../shared/runtime/sys_node.ts";
import type { JsonObject } from "../../../../shared/base/json.ts";
import type { FlannelConfig } from "../../../../plugins/flannel/conf.ts";
import { flannel } from "../../../../plugins/flannel/plugin.ts";
import { plainEnv } from "../../shared/flannel/plain_env.ts";

export function request(verb: Verb, containerId = "pod1", ifname = "eth0"): Request {
  const netns = "/run/netns/pod1";
  return { verb, containerId, netns, ifname, args: "", path: [], netnsOverride: false };
}

/** A node with subnet.env, and a delegate that records its calls. */
export class FlannelNode {
  readonly calls: { verb: string; type: string; conf: JsonObject }[] = [];
  readonly subnetFile: string;
  readonly dataDir: string;
  /** What every verb of the delegate throws, if anything. */
  failure: Error | undefined;

  constructor(folder: string) {
    this.subnetFile = join(folder, "subnet.env");
    this.dataDir = join(folder, "state");
    writeFileSync(this.subnetFile, plainEnv);
  }

  conf(more: JsonObject = {}): JsonObject {
    const { subnetFile, dataDir } = this;
    return { cniVersion: "1.1.0", name: "cbr0", type: "flannel", subnetFile, dataDir, ...more };
  }

  /** Calls the plugin's repair for an interface. */
  async repair(raw: JsonObject): Promise<readonly string[] | undefined> {
    return flannel.repair?.(this.#context(request("CHECK"), raw, new UndoStack()), true);
  }

  /** Runs one verb of the plugin as the dispatcher does. */
  async call(verb: Verb, raw: JsonObject, containerId?: string, ifname?: string): Promise<void> {
    const call = request(verb, containerId, ifname);
    const undo = new UndoStack();
    const context = this.#context(call, raw, undo);
    try {
      if (verb === "ADD") await flannel.add(context);
      if (verb === "DEL") await flannel.del(context);
      if (verb === "CHECK") await flannel.check(context);
      if (verb === "GC") await flannel.gc(context, [{ containerId: "valid", ifname: "eth0" }]);
      if (verb === "STATUS") await flannel.status(context);
    } catch (error) {
      const [failure] = await undo.run();
      throw failure ?? error;
    }
  }

  #context(call: Request, raw: JsonObject, undo: UndoStack): Context<FlannelConfig> {
    const version = versionOf(raw);
    return {
      request: call,
      conf: flannel.parse(raw, call, () => undefined),
      raw,
      version,
      prevResult: readPrevResult(raw, version),
      node: new Node(sys),
      firewall: new Firewall(sys),
      delegate: this.#delegate(),
      undo,
      warn: () => undefined,
    };
  }

  #delegate(): Delegate {
    const record =
      (verb: string) =>
      async (type: string, conf: JsonObject): Promise<void> => {
        this.calls.push({ verb, type, conf });
        await Promise.resolve();
        if (this.failure !== undefined) throw this.failure;
      };
    return {
      add: async (type, conf) => {
        await record("add")(type, conf);
        return emptyResult;
      },
      del: record("del"),
      check: record("check"),
      gc: record("gc"),
      status: record("status"),
      repair: async (type, conf) => {
        await record("repair")(type, conf);
        return ["rules"];
      },
    };
  }
}
