/** A client of a container runtime: the calls that kubelet makes for a pod's network. */
import { fileURLToPath } from "node:url";
import { Client, credentials, Metadata } from "@grpc/grpc-js";
import { loadSync, type PackageDefinition, type ServiceDefinition } from "@grpc/proto-loader";
import { eventually } from "./eventually.ts";

/** A pod as kubelet asks for it. */
export interface PodConfig {
  readonly name: string;
  /** The parent of the pod's cgroup. */
  readonly cgroupParent: string;
  /** Whether it uses the node's network; then no plugin is called. */
  readonly hostNetwork?: boolean;
  /** TCP ports. */
  readonly ports?: readonly { readonly hostPort: number; readonly containerPort: number }[];
}

/** What the runtime knows about a pod. */
export interface PodStatus {
  readonly ready: boolean;
  readonly addresses: readonly string[];
  /** Path of its network namespace; "" if it has none of its own. */
  readonly netns: string;
}

/** A runtime at the other end of a socket. Each call ends within a minute, or throws. */
export interface Cri {
  /** Why the runtime or its network is not ready; "" if both are. */
  readonly problem: () => Promise<string>;
  readonly hasImage: (image: string) => Promise<boolean>;
  /** Runs a pod and returns its id. */
  readonly run: (pod: PodConfig) => Promise<string>;
  readonly stop: (id: string) => Promise<void>;
  readonly remove: (id: string) => Promise<void>;
  readonly status: (id: string) => Promise<PodStatus>;
  /** The ids of all pods, stopped ones included. */
  readonly list: () => Promise<readonly string[]>;
  /** The id of the pod of that name that is ready. */
  readonly find: (name: string) => Promise<string | undefined>;
  readonly close: () => void;
}

const CALL_LIMIT_MS = 60_000;
const START_LIMIT_MS = 30_000;

/** Reconnects soon, because a runtime that has just started does not listen yet. */
const RETRY = {
  "grpc.initial_reconnect_backoff_ms": 50,
  "grpc.min_reconnect_backoff_ms": 50,
  "grpc.max_reconnect_backoff_ms": 200,
};

interface Info {
  readonly runtimeSpec?: {
    readonly linux?: { readonly namespaces?: readonly { type: string; path?: string }[] };
  };
}

interface StatusReply {
  readonly status: {
    readonly conditions: readonly { type: string; status: boolean; message: string }[];
  };
}

/** Connects to a runtime, and waits until it answers. */
export async function connectCri(socket: string): Promise<Cri> {
  const definition = loadSync(fileURLToPath(import.meta.resolve("./cri.proto")), {
    keepCase: true,
    defaults: true,
    enums: String,
  });
  const client = new Client(`unix:${socket}`, credentials.createInsecure(), RETRY);
  try {
    await new Promise<void>((resolve, reject) => {
      client.waitForReady(Date.now() + CALL_LIMIT_MS, (error) => {
        if (error === undefined) resolve();
        else reject(error);
      });
    });
  } catch (error) {
    client.close();
    throw error;
  }
  const runtime = callerOf(client, definition, "RuntimeService");
  const images = callerOf(client, definition, "ImageService");
  return {
    async problem() {
      let status;
      try {
        ({ status } = await runtime<StatusReply>("Status", {}));
      } catch (error) {
        return messageOf(error);
      }
      // Those of the CRI. containerd 2 has one more, of what the machine will have to change.
      const bad = status.conditions.filter(
        ({ type, status: isMet }) => !isMet && /^(?:Runtime|Network)Ready$/.test(type),
      );
      return bad.map(({ type, message }) => `${type} is false: ${message}`).join("; ");
    },
    async hasImage(image) {
      return (
        (await images<{ image: object | null }>("ImageStatus", { image: { image } })).image !== null
      );
    },
    async run({ name, cgroupParent, hostNetwork = false, ports = [] }) {
      const request = {
        metadata: { name, uid: `uid-${name}`, namespace: "default", attempt: 0 },
        hostname: hostNetwork ? "" : name,
        port_mappings: ports.map(({ hostPort, containerPort }) => ({
          protocol: "TCP",
          host_port: hostPort,
          container_port: containerPort,
        })),
        linux: {
          cgroup_parent: cgroupParent,
          security_context: { namespace_options: { network: hostNetwork ? "NODE" : "POD" } },
        },
      };
      const { pod_sandbox_id: id } = await runtime<{ pod_sandbox_id: string }>("RunPodSandbox", {
        config: request,
      });
      return id;
    },
    async stop(id) {
      await runtime("StopPodSandbox", { pod_sandbox_id: id });
    },
    async remove(id) {
      await runtime("RemovePodSandbox", { pod_sandbox_id: id });
    },
    async status(id) {
      const { status, info } = await runtime<{
        status: {
          state: string;
          network: { ip: string; additional_ips: { ip: string }[] } | null;
        };
        info: Readonly<Record<string, string>>;
      }>("PodSandboxStatus", { pod_sandbox_id: id, verbose: true });
      const { ip = "", additional_ips: more = [] } = status.network ?? {};
      const { runtimeSpec } = JSON.parse(info["info"] ?? "{}") as Info;
      const network = runtimeSpec?.linux?.namespaces?.find(({ type }) => type === "network");
      return {
        ready: status.state === "SANDBOX_READY",
        addresses: [ip, ...more.map((address) => address.ip)].filter(Boolean),
        netns: network?.path ?? "",
      };
    },
    async list() {
      const { items } = await runtime<{ items: { id: string }[] }>("ListPodSandbox", {});
      return items.map(({ id }) => id);
    },
    async find(name) {
      const { items } = await runtime<{
        items: { id: string; metadata: { name: string }; state: string }[];
      }>("ListPodSandbox", {});
      const isIt = ({ metadata, state }: (typeof items)[number]) =>
        metadata.name === name && state === "SANDBOX_READY";
      return items.find(isIt)?.id;
    },
    close() {
      client.close();
    },
  };
}

/** Waits until the runtime and its network are ready. Throws with what is missing. */
export async function waitUntilReady(cri: Cri): Promise<void> {
  const problem = await eventually(cri.problem, (found) => found === "", START_LIMIT_MS);
  if (problem !== "") throw new Error(`Cannot run pods: ${problem}`);
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

type Caller = <Reply>(method: string, request: object) => Promise<Reply>;

/** Calls methods of one service. The reply's type is the one in cri.proto. */
function callerOf(client: Client, definition: PackageDefinition, service: string): Caller {
  const methods = definition[`runtime.v1.${service}`] as ServiceDefinition;
  return async <Reply>(method: string, request: object): Promise<Reply> => {
    const found = methods[method];
    if (found === undefined) throw new Error(`Cannot call ${method}: cri.proto has no such call`);
    return new Promise<Reply>((resolve, reject) => {
      client.makeUnaryRequest(
        found.path,
        found.requestSerialize,
        found.responseDeserialize,
        request,
        new Metadata(),
        { deadline: Date.now() + CALL_LIMIT_MS },
        (error, reply) => {
          if (error === null) resolve(reply as Reply);
          else reject(error);
        },
      );
    });
  };
}
