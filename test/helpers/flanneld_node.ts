/** A node of a fabric on which flanneld runs: its subnet.env, its readiness. */
import type { Fabric, FabricNode } from "../lab/fabric.ts";
import { until, type Daemon } from "./flanneld.ts";

export const netConf = (conf: object) => JSON.stringify({ Network: "10.244.0.0/16", ...conf });
export const vxlan = { Backend: { Type: "vxlan" } };

export async function subnetEnv({ sandbox }: FabricNode): Promise<string> {
  return (await sandbox.exists("/run/flannel/subnet.env"))
    ? sandbox.readFile("/run/flannel/subnet.env")
    : "";
}

export async function whenWritten(node: FabricNode, daemon: Daemon): Promise<string> {
  await until("subnet.env", async () => (await subnetEnv(node)) !== "", daemon);
  return subnetEnv(node);
}

export async function answer({ sandbox }: FabricNode, path: string): Promise<string> {
  const script = `exec 3<>/dev/tcp/127.0.0.1/8081; printf 'GET ${path} HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3`;
  const { stdout } = await sandbox.exec("bash", ["-c", script]);
  return stdout;
}

export async function readiness(node: FabricNode): Promise<string> {
  return answer(node, "/readyz");
}

export function nodesOf(fabric: Fabric): readonly [FabricNode, FabricNode, ...FabricNode[]] {
  const [first, second, ...rest] = fabric.nodes;
  if (first === undefined || second === undefined) throw new Error("there are two nodes");
  return [first, second, ...rest];
}
