/**
 * Makes and changes many Node objects, by a real API server:
 *
 *     node_objects.ts URL CA-FILE TOKEN
 *
 * It reads commands from stdin and answers each with a line:
 *
 *     create FROM COUNT          makes nodes "pFROM" and on, each as large as a kubelet's, with flannel's annotations
 *     change COUNT RATE SECONDS  changes so many a second: nineteen of twenty are heartbeats, one is a new VTEP
 */
import { readFileSync } from "node:fs";
import { Agent, request } from "node:https";
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";

const [url = "", caFile = "", token = ""] = process.argv.slice(2);
const agent = new Agent({ keepAlive: true, maxSockets: 16, ca: readFileSync(caFile) });
const prefix = "flannel.alpha.coreos.com/";

async function send(method: string, path: string, body: object): Promise<void> {
  const text = JSON.stringify(body);
  const type = method === "PATCH" ? "strategic-merge-patch+json" : "json";
  await new Promise<void>((resolve, reject) => {
    const sent = request(`${url}${path}`, {
      method,
      agent,
      headers: {
        authorization: `Bearer ${token}`,
        "content-type": `application/${type}`,
        "content-length": Buffer.byteLength(text),
      },
    });
    sent.on("error", reject);
    sent.on("response", (response) => {
      let answer = "";
      response.on("data", (part: Buffer) => {
        answer += part.toString();
      });
      response.on("end", () => {
        if ((response.statusCode ?? 500) < 300) resolve();
        else reject(new Error(`${method} ${path}: ${response.statusCode ?? 0} ${answer}`));
      });
    });
    sent.end(text);
  });
}

function bytesOf(number: number): readonly [number, number] {
  return [number >> 8, number & 255];
}

function vtepOf(number: number, generation: number): string {
  const [high, low] = bytesOf(number);
  const hex = [generation & 255, high, low].map((byte) => byte.toString(16).padStart(2, "0"));
  return JSON.stringify({ VNI: 1, VtepMAC: `02:01:00:${hex.join(":")}` });
}

function conditions(): readonly object[] {
  const now = new Date().toISOString();
  return ["MemoryPressure", "DiskPressure", "PIDPressure", "Ready"].map((type) => ({
    type,
    status: type === "Ready" ? "True" : "False",
    reason: "Kubelet",
    message: "kubelet has looked at it",
    lastHeartbeatTime: now,
    lastTransitionTime: "2026-01-01T00:00:00Z",
  }));
}

function nodeObject(number: number): object {
  const [high, low] = bytesOf(number);
  const cidr = `10.${128 + high}.${low}.0/24`;
  const address = `10.90.${high}.${low}`;
  return {
    apiVersion: "v1",
    kind: "Node",
    metadata: {
      name: `p${number}`,
      labels: { "kubernetes.io/hostname": `p${number}`, "kubernetes.io/os": "linux" },
      annotations: {
        [`${prefix}backend-type`]: "vxlan",
        [`${prefix}backend-data`]: vtepOf(number, 0),
        [`${prefix}kube-subnet-manager`]: "true",
        [`${prefix}public-ip`]: address,
      },
    },
    spec: { podCIDR: cidr, podCIDRs: [cidr] },
    status: {
      addresses: [{ type: "InternalIP", address }],
      conditions: conditions(),
      // What a kubelet reports by default: fifty images, 13 kB in all.
      images: Array.from({ length: 50 }, (_, at) => ({
        names: [
          `registry.example/team/image-${at}@sha256:${String(at).padStart(64, "0")}`,
          `registry.example/team/image-${at}:v1.${at}`,
        ],
        sizeBytes: 10_000_000 + at,
      })),
    },
  };
}

async function create(from: number, count: number): Promise<void> {
  const numbers = Array.from({ length: count }, (_, at) => from + at).values();
  const work = async () => {
    for (const number of numbers) await send("POST", "/api/v1/nodes", nodeObject(number));
  };
  await Promise.all(Array.from({ length: 16 }, work));
}

async function change(count: number, rate: number, seconds: number): Promise<void> {
  const started = performance.now();
  const sent: Promise<void>[] = [];
  for (let at = 0; at < rate * seconds; at += 1) {
    const number = (at * 7919) % count;
    const path = `/api/v1/nodes/p${number}/status`;
    const annotations = { [`${prefix}backend-data`]: vtepOf(number, 1 + at / 20) };
    const body = at % 20 === 0 ? { metadata: { annotations } } : {};
    sent.push(send("PATCH", path, { ...body, status: { conditions: conditions() } }));
    await delay(started + ((at + 1) * 1000) / rate - performance.now());
  }
  await Promise.all(sent);
}

process.stdout.write("ready\n");
for await (const line of createInterface({ input: process.stdin })) {
  const [command, ...numbers] = line.split(" ");
  const [first = 0, second = 0, third = 0] = numbers.map(Number);
  const started = performance.now();
  if (command === "create") await create(first, second);
  else await change(first, second, third);
  process.stdout.write(`${(performance.now() - started).toFixed(0)}\n`);
}
process.exit();
