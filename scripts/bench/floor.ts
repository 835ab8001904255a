/**
 * Makes the same calls in one process that has made them before. Our code is compiled and in the
 * processor's caches, so what remains is the time of the kernel and of the firewall tools.
 */
import { createRequire } from "node:module";
import { basename } from "node:path";
import { createInterface } from "node:readline";

import { builtins } from "../../plugins/builtins.ts";
import { DelegateInvoker } from "../../shared/cni/delegate_invoker.ts";
import { readRequest } from "../../shared/cni/request.ts";
import { versionOf } from "../../shared/cni/version.ts";
import { writeResult } from "../../shared/cni/result_codec.ts";
import { Firewall } from "../../shared/firewall/firewall.ts";
import { Node } from "../../shared/node/node.ts";
import { sys } from "../../shared/runtime/sys_node.ts";
import type { JsonObject } from "../../shared/base/json.ts";
import { serve } from "./protocol.ts";
import type { Call, Cost, Reply, Request } from "./protocol.ts";

// The builds are CommonJS, which has it.
Object.assign(globalThis, { require: createRequire(import.meta.url) });

const handlers = new Map(builtins.map((plugin) => [plugin.name, plugin]));

await serve(createInterface({ input: process.stdin }), carryOut);

async function carryOut({ lanes }: Request): Promise<Reply> {
  const costs: Cost[][] = [];
  const results: unknown[] = [];
  const started = performance.now();
  for (const calls of lanes) {
    const own: Cost[] = [];
    let result: unknown;
    for (const call of calls) {
      const before = process.cpuUsage();
      const begun = performance.now();
      result = await carryOutOne(call, result);
      const wall = performance.now() - begun;
      const { user, system } = process.cpuUsage(before);
      own.push({ wall, user: user / 1000, system: system / 1000, rss: 0 });
    }
    costs.push(own);
    results.push(result);
  }
  return { wall: performance.now() - started, lanes: costs, results };
}

/** Warnings go nowhere. */
function warn(): void {}

async function carryOutOne(call: Call, before: unknown): Promise<unknown> {
  const raw = (call.takesResult ? { ...call.conf, prevResult: before } : call.conf) as JsonObject;
  using node = new Node({ ...sys, env: call.env });
  using firewall = new Firewall(node.sys);
  const env = { node, firewall, warn };
  const request = readRequest(call.env);
  const delegate = new DelegateInvoker(request, env, handlers);
  const result = await handlers.get(basename(call.file))?.call(request, raw, { ...env, delegate });
  return result === undefined ? undefined : writeResult(result, versionOf(raw));
}
