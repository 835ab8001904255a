/**
 * Hostile input to the executables. Whatever stdin and the environment contain, the answer is one JSON
 * object or nothing, with a documented code, in time and without a stack trace.
 */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { pluginNames } from "../../plugins/builtins.ts";
import type { Json } from "../../shared/base/json.ts";
import { cni, createSandbox, binDir, type CniAnswer, type Sandbox } from "../helpers/cni.ts";
import {
  bridgeConf,
  DUAL_STACK,
  flannelConf,
  hostLocalConf,
  writeSubnetEnv,
} from "../helpers/network.ts";
import { isBun } from "../helpers/form.ts";
import { likeTexts, likeValues } from "../unit/fuzz/hostile.ts";

const cases = Number(process.env["FUZZ_CASES"] ?? 0);
const runs = Math.max(isBun ? 24 : 8, Math.floor(cases / 200));
const seed = Number(process.env["FUZZ_SEED"] ?? 20_260_101);
const bin = binDir();
const PLUGINS = pluginNames;
const COMMANDS = ["ADD", "DEL", "CHECK", "GC", "STATUS"] as const;

const configs = [
  { ...bridgeConf(DUAL_STACK, { cniVersion: "1.1.0" }), "cni.dev/valid-attachments": [] },
  { ...flannelConf("1.1.0"), "cni.dev/valid-attachments": [] },
  hostLocalConf({ subnet: "10.1.0.0/24" }),
  {
    cniVersion: "1.1.0",
    name: "cbr0",
    runtimeConfig: { portMappings: [{ hostPort: 8080, containerPort: 80, protocol: "tcp" }] },
    prevResult: { cniVersion: "1.1.0", ips: [{ address: "10.244.1.2/24" }] },
  },
] as const;

function expectProper(answer: CniAnswer): void {
  const context = `${answer.stdout.slice(0, 500)} ${answer.stderr.slice(0, 500)}`;
  expect([0, 1], context).toContain(answer.code);
  expect(answer.stderr, "a stack trace").not.toMatch(/^\s+at .*[(:]/m);
  expect(answer.ms, context).toBeLessThan(15_000);
  if (answer.code === 0 && answer.stdout === "") return;
  expect(answer.json, context).toBeDefined();
  if (answer.code === 0) return;
  expect(answer.json?.code, context).not.toBe(999);
  expect(answer.json?.msg, context).toMatch(/\S/);
  expect(answer.stdout.length).toBeLessThan(5000);
}

const deep = (open: string, close: string, depth: number): string =>
  open.repeat(depth) + close.repeat(depth);

async function hostileNode(): Promise<Sandbox> {
  const node = await createSandbox();
  await writeSubnetEnv(node, DUAL_STACK);
  await node.addPod("pod1");
  return node;
}

/** No file is written outside these folders, whatever the input. */
const ALLOWED = /^\/(run\/(flannel|flannel-cni|xtables)|var\/lib\/cni)[/.]/;

const calls = fc.record({
  plugin: fc.constantFrom(...PLUGINS),
  command: fc.constantFrom(...COMMANDS),
});

describe.concurrent("the executables", () => {
  test("take any config by value", { timeout: 3_600_000 }, async () => {
    await using node = await hostileNode();
    const values = likeValues(configs as unknown as readonly Json[]);
    for (const [call, conf] of fc.sample(fc.tuple(calls, values), { numRuns: runs, seed })) {
      expectProper(await cni(node, { bin, ...call, conf: JSON.stringify(conf) }));
    }
    const { files = [] } = await node.snapshot();
    expect(files.filter((file) => !ALLOWED.test(file))).toEqual([]);
  });

  test("take any stdin and environment", { timeout: 3_600_000 }, async () => {
    await using node = await hostileNode();
    const stdin = likeTexts(configs.map((conf) => JSON.stringify(conf)));
    const word = likeTexts(["pod1", "/run/netns/pod1", "eth0", "IP=10.0.0.7;K=V", "/opt/cni/bin"]);
    const environment = fc.tuple(word, word, word, word);
    const inputs = fc.tuple(calls, stdin, environment);
    for (const [call, conf, drawn] of fc.sample(inputs, { numRuns: runs, seed })) {
      // No process can have a NUL byte in its environment.
      const [containerId, netns, ifname, args] = drawn.map((text) =>
        text.replaceAll("\0", "").toWellFormed(),
      );
      const env = { containerId, netns, ifname, args };
      const given = Object.entries(env).filter((_, at) => (conf.length + at) % 3 === 0);
      expectProper(await cni(node, { bin, ...call, conf, ...Object.fromEntries(given) }));
    }
    const { files = [] } = await node.snapshot();
    expect(files.filter((file) => !ALLOWED.test(file))).toEqual([]);
  });

  const shapes: Readonly<Record<string, string | Uint8Array>> = {
    nothing: "",
    "a million open brackets": "[".repeat(1_000_000),
    "an array 100,000 deep": deep("[", "]", 100_000),
    "a config 5,000 deep": `{"cniVersion":"1.0.0","name":"n","type":"bridge","ipam":${deep('{"a":', "}", 5000).replace(":}", ":0}")}}`,
    "a result 5,000 deep": `{"cniVersion":"1.0.0","name":"n","prevResult":{"ips":${deep("[", "]", 5000)}}}`,
    "bytes that are no UTF-8": Buffer.from([0x7b, 0xff, 0xfe, 0x00, 0x7d]),
    "a string of 7 MB": JSON.stringify({ cniVersion: "1.0.0", name: "n".repeat(7_000_000) }),
    "a prototype": '{"cniVersion":"1.0.0","name":"n","__proto__":{"ipam":{"type":"host-local"}}}',
    "a version 1 MB long": JSON.stringify({ cniVersion: "1".repeat(1_000_000), name: "n" }),
  };
  test.for(Object.entries(shapes))("take %s", async ([, conf]) => {
    await using node = await hostileNode();
    let made = 0;
    for (const plugin of PLUGINS) {
      for (const command of ["ADD", "DEL"] as const) {
        expectProper(await cni(node, { bin, plugin, command, conf }));
        made++;
      }
    }
    expect(made).toBe(PLUGINS.length * 2);
  });
});
