/** Nodes with everything installed, and cnitool on them. */
import { expect } from "vitest";
import { addUntilEnded } from "../lab/cni.ts";
import type { RunResult } from "../lab/process.ts";
import { pluginNames } from "../../plugins/builtins.ts";
import { binDir, createSandbox, type Conf, type Namespace, type Sandbox } from "./cni.ts";
import { DUAL_STACK, writeSubnetEnv } from "./network.ts";

export const CONFLIST_FILE = "/etc/cni/net.d/10-flannel.conflist";

/** flannel's usual conflist, with a test's changes. */
export function flannelConflist(more: Conf = {}): Conf {
  return {
    name: "cbr0",
    cniVersion: "1.0.0",
    plugins: [
      { type: "flannel", delegate: { hairpinMode: true, isDefaultGateway: true } },
      { type: "portmap", capabilities: { portMappings: true } },
    ],
    ...more,
  };
}

/** A node with the plugins, subnet.env and a network config in their usual places. */
export async function createInstalledNode(conflist: Conf = flannelConflist()): Promise<Sandbox> {
  const node = await createSandbox();
  await node.sh(`
    echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad
    mkdir -p /opt/cni/bin
    ln -s ${[...pluginNames, "cnitool"].map((name) => `${binDir()}/${name}`).join(" ")} /opt/cni/bin/
  `);
  await writeSubnetEnv(node, DUAL_STACK, false);
  await node.writeFile(CONFLIST_FILE, JSON.stringify(conflist, undefined, 2));
  return node;
}

export interface ToolAnswer {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs cnitool on a node. */
export async function cnitool(
  node: Sandbox,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
  input?: string,
): Promise<ToolAnswer> {
  const options = { env, ...(input === undefined ? {} : { input }) };
  const run = async (words: readonly string[]): Promise<RunResult> =>
    node.exec("/opt/cni/bin/cnitool", words, options);
  const isAdd = args[0] === "add";
  const result = await (isAdd
    ? addUntilEnded(node, {
        add: async () => run(args),
        delete: async () => void (await run(["del", ...args.slice(1)])),
        errorOf: ({ stderr }) => stderr,
      })
    : run(args));
  const { exitCode, stdout, stderr } = result;
  expect(stderr, "a stack trace").not.toMatch(/^\s+at .*[(:]/m);
  return { status: exitCode, stdout, stderr };
}

/** Runs cnitool, which must succeed and print nothing on stderr. Returns its output. */
export async function cnitoolOk(
  node: Sandbox,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
  input?: string,
): Promise<string> {
  const { status, stdout, stderr } = await cnitool(node, args, env, input);
  expect({ status, stderr }, `cnitool ${args.join(" ")}`).toEqual({ status: 0, stderr: "" });
  return stdout;
}

/** Makes a namespace and adds it to a network, optionally with a host port for its port 80. */
export async function addByTool(
  node: Sandbox,
  name: string,
  hostPort?: number,
  env: Readonly<Record<string, string>> = {},
): Promise<Namespace> {
  const pod = await node.addPod(name);
  const ports =
    hostPort === undefined
      ? {}
      : { CAP_ARGS: JSON.stringify({ portMappings: [{ hostPort, containerPort: 80 }] }) };
  const args = ["add", "--container-id", name, "cbr0", pod.netnsPath];
  await cnitoolOk(node, args, { ...env, ...ports });
  return pod;
}
