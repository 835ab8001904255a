/**
 * Makes many calls of each of a plugin's verbs in one process, and prints what they leave open and how
 * much memory they keep, as JSON:
 *
 *     repeated_calls.ts PLUGIN WARMUP ROUNDS NETNS
 *
 * A process that stays makes its calls so. It runs with --expose-gc, in the network namespace of a node
 * that is its own.
 */
import { readdirSync } from "node:fs";
import { createRequire } from "node:module";

import { builtins } from "../../plugins/builtins.ts";
import type { JsonObject } from "../../shared/base/json.ts";
import { DelegateInvoker } from "../../shared/cni/delegate_invoker.ts";
import { readRequest } from "../../shared/cni/request.ts";
import type { Verb } from "../../shared/cni/request.ts";
import { writeResult } from "../../shared/cni/result_codec.ts";
import { versionOf } from "../../shared/cni/version.ts";
import { Firewall } from "../../shared/firewall/firewall.ts";
import { Node } from "../../shared/node/node.ts";
import { sys } from "../../shared/runtime/sys_node.ts";

/** What a plugin's calls have left. */
export interface Cost {
  readonly calls: number;
  /** The descriptors that are open at the end and were not before. */
  readonly descriptors: number;
  /** Bytes of memory, after a collection, that are in use at the end and were not before. */
  readonly memory: number;
}

interface Subject {
  readonly plugin: string;
  readonly conf: JsonObject;
  /** The result that a runtime has of the plugins before it in the list. */
  readonly prevResult?: JsonObject;
}

// The builds are CommonJS, which has it.
Object.assign(globalThis, { require: createRequire(import.meta.url) });

const [plugin = "", warmup = "", rounds = "", netns = ""] = process.argv.slice(2);
const handlers = new Map(builtins.map((handler) => [handler.name, handler]));
const containerId = "pod1";
const ifname = "eth0";

const ipam = {
  type: "host-local",
  ranges: [[{ subnet: "10.9.0.0/24" }], [{ subnet: "fd09::/64" }]],
};
const common = { cniVersion: "1.1.0", name: "net" };
const subjects: readonly Subject[] = [
  { plugin: "loopback", conf: { ...common, type: "loopback" } },
  { plugin: "host-local", conf: { ...common, type: "bridge", ipam } },
  { plugin: "bridge", conf: { ...common, type: "bridge", isDefaultGateway: true, ipam } },
  { plugin: "flannel", conf: { ...common, type: "flannel", delegate: { isDefaultGateway: true } } },
  {
    plugin: "portmap",
    conf: {
      ...common,
      type: "portmap",
      backend: "nftables",
      runtimeConfig: { portMappings: [{ hostPort: 8080, containerPort: 80 }] },
    },
    prevResult: {
      cniVersion: "1.1.0",
      interfaces: [{ name: ifname, sandbox: netns }],
      ips: [{ interface: 0, address: "10.9.0.7/24" }],
    },
  },
];

const found = subjects.find((subject) => subject.plugin === plugin);
if (found === undefined) throw new Error(`there is no plugin ${plugin}`);
// The first rounds fill caches and compile.
await repeat(found, Number(warmup));
const before = usage();
const calls = await repeat(found, Number(rounds));
const after = usage();
const cost: Cost = {
  calls,
  descriptors: after.descriptors - before.descriptors,
  memory: after.memory - before.memory,
};
console.log(JSON.stringify(cost));

/** @returns how many calls that were. */
async function repeat(subject: Subject, count: number): Promise<number> {
  let made = 0;
  const { prevResult } = subject;
  const previous: JsonObject = prevResult === undefined ? {} : { prevResult };
  const valid = { "cni.dev/valid-attachments": [{ containerID: containerId, ifname }] };
  for (let round = 0; round < count; round++) {
    const result = await call(subject, "ADD", previous);
    const own = { prevResult: (result ?? {}) as JsonObject };
    await call(subject, "CHECK", own);
    await call(subject, "STATUS", {});
    await call(subject, "GC", valid);
    // One that fails has to leave as little.
    await fail(subject, { ...previous, name: "../net" });
    await fail(subject, previous, "/proc/self/ns/net");
    await call(subject, "DEL", own);
    await call(subject, "DEL", own, "");
    made += 8;
  }
  return made;
}

async function call(
  { conf }: Subject,
  verb: Verb,
  more: JsonObject,
  path = netns,
): Promise<unknown> {
  const env = {
    PATH: process.env["PATH"],
    CNI_COMMAND: verb,
    CNI_CONTAINERID: containerId,
    CNI_NETNS: path,
    CNI_IFNAME: ifname,
    CNI_PATH: "/nowhere",
  };
  const raw = { ...conf, ...more };
  using node = new Node({ ...sys, env });
  using firewall = new Firewall(node.sys);
  const invokeEnv = { node, firewall, warn: () => undefined };
  const request = readRequest(env);
  const delegate = new DelegateInvoker(request, invokeEnv, handlers);
  const result = await handlers.get(plugin)?.call(request, raw, { ...invokeEnv, delegate });
  return result && writeResult(result, versionOf(raw));
}

/** An ADD that is refused, or is none of those that open a namespace. */
async function fail(subject: Subject, more: JsonObject, path?: string): Promise<void> {
  try {
    await call(subject, "ADD", more, path);
  } catch {
    return;
  }
  if (subject.plugin === "bridge" || more["name"] !== undefined) {
    throw new Error(`${subject.plugin} did not refuse it`);
  }
}

function usage(): { descriptors: number; memory: number } {
  globalThis.gc?.();
  globalThis.gc?.();
  const { heapUsed, external } = process.memoryUsage();
  return { descriptors: readdirSync("/proc/self/fd").length, memory: heapUsed + external };
}
