import { readFileSync } from "node:fs";
import { isIP } from "node:net";
import { checkServerIdentity } from "node:tls";
import { Client, credentials } from "@grpc/grpc-js";
import type { ChannelCredentials } from "@grpc/grpc-js";
import { Failure, messageOf } from "../base/failure.ts";

/** Where etcd is, and how to authenticate. Paths and names are "" for none. */
export interface EtcdServers {
  readonly endpoints: readonly string[];
  readonly keyFile: string;
  readonly certFile: string;
  readonly caFile: string;
  readonly username: string;
  readonly password: string;
}

/** Bytes of an answer. */
const maxAnswer = 64 * 1024 * 1024;

/**
 * A connection to one server, made when it is first used.
 * @param what completes "Cannot", for messages.
 */
export function connect(endpoint: string, servers: EtcdServers, what: string): Client {
  const url = URL.parse(endpoint.includes("://") ? endpoint : `http://${endpoint}`);
  if (url === null || url.hostname === "" || !["http:", "https:"].includes(url.protocol)) {
    throw new Failure(
      "invalid",
      `Cannot ${what}: --etcd-endpoints must be URLs (got ${JSON.stringify(endpoint)}).`,
      "Give URLs such as https://192.0.2.1:2379, separated by commas.",
    );
  }
  const host = url.hostname.replaceAll(/[[\]]/g, "");
  const isSecure = url.protocol === "https:";
  const port = url.port === "" ? (isSecure ? "443" : "80") : url.port;
  const address = isIP(host) === 6 ? `[${host}]` : host;
  return new Client(
    `${isIP(host) === 0 ? "dns" : `ipv${isIP(host)}`}:${address}:${port}`,
    isSecure ? secure(host, servers, what) : credentials.createInsecure(),
    {
      "grpc.max_receive_message_length": maxAnswer,
      // A server that does not answer is noticed within half a minute, also by a watch.
      "grpc.keepalive_time_ms": 20_000,
      "grpc.keepalive_timeout_ms": 8000,
      "grpc.initial_reconnect_backoff_ms": 100,
      "grpc.max_reconnect_backoff_ms": 2000,
      // Otherwise a new client would have to wait for the back-off of an old one.
      "grpc.use_local_subchannel_pool": 1,
      "grpc.service_config_disable_resolution": 1,
      "grpc.enable_retries": 0,
      // TLS cannot send an IP address as the server's name. The certificate is checked below.
      ...(isSecure && isIP(host) !== 0 ? { "grpc.ssl_target_name_override": "etcd" } : {}),
    },
  );
}

function secure(host: string, servers: EtcdServers, what: string): ChannelCredentials {
  const { caFile, keyFile, certFile } = servers;
  const read = (path: string): Buffer | null => {
    if (path === "") return null;
    try {
      return readFileSync(path);
    } catch (cause) {
      throw new Failure(
        "missing",
        `Cannot ${what}: ${messageOf(cause)}.`,
        `Make sure that ${path} is there and that flanneld may read it.`,
        { cause },
      );
    }
  };
  const [ca, key, cert] = [read(caFile), read(keyFile), read(certFile)];
  try {
    return credentials.createSsl(
      ca,
      key !== null && cert !== null ? key : null,
      key !== null ? cert : null,
      {
        checkServerIdentity: (_, certificate) => checkServerIdentity(host, certificate),
      },
    );
  } catch (cause) {
    // Somebody may be writing them.
    const files = [caFile, certFile, keyFile].filter((file) => file !== "").join(", ");
    throw new Failure(
      "invalid",
      `Cannot ${what}: the certificates and keys in ${files} must be PEM (${messageOf(cause)}).`,
      "Give --etcd-cafile, --etcd-certfile and --etcd-keyfile whole files, and the key that belongs to the certificate.",
      { cause },
    );
  }
}
