import { isUnspecified, parseAddress } from "../../shared/net/address.ts";
import type { Address, Family } from "../../shared/net/address.ts";
import { parseCidr, subnetOf } from "../../shared/net/cidr.ts";
import type { Cidr } from "../../shared/net/cidr.ts";
import { NetError } from "../../shared/net/error.ts";
import { netConfFile, subnetFile, wireguardKeyFile } from "../../shared/files/paths.ts";
import { parseGoPattern, PatternError } from "./go_pattern.ts";
import { describeFlags, parseFlags, UsageError } from "./flags.ts";
import type { Flags, Values } from "./flags.ts";

export { UsageError } from "./flags.ts";

/** How flanneld is to run, from flags and environment. */
export interface Options {
  readonly leases: LeaseOptions;
  readonly interface: InterfaceOptions;
  readonly subnetFile: string;
  /** Where the backend wireguard keeps its private key. */
  readonly wireguardKeyFile: string;
  readonly traffic: TrafficOptions;
  readonly health: { readonly host: string; readonly port: number };
  /** How much the log tells; 0 is the usual. */
  readonly verbosity: number;
  /** Where systemd waits to hear that the network is up. */
  readonly notifySocket: string | undefined;
  /** Says what would be done, and does nothing. */
  readonly dryRun: boolean;
}

export type LeaseOptions = KubeOptions | EtcdOptions;

export interface KubeOptions {
  readonly kind: "kube";
  /** "" for what the kubeconfig or the pod's service account says. */
  readonly apiUrl: string;
  /** "" for none. */
  readonly kubeconfig: string;
  readonly annotationPrefix: string;
  readonly netConfPath: string;
  readonly setNodeNetworkUnavailable: boolean;
  /** This node's name, or the pod that can be asked for it. */
  readonly nodeName: string | undefined;
  readonly pod: { readonly namespace: string; readonly name: string } | undefined;
}

export interface EtcdOptions {
  readonly kind: "etcd";
  readonly endpoints: readonly string[];
  /** Without a slash at its end. */
  readonly prefix: string;
  /** Paths; "" for none. */
  readonly keyFile: string;
  readonly certFile: string;
  readonly caFile: string;
  readonly username: string;
  readonly password: string;
  /** Minutes before the lease's end at which it is renewed at the latest. */
  readonly renewMargin: number;
}

/** Which interface leads to the other nodes. */
export interface InterfaceOptions {
  /** Names or addresses, the first that fits. */
  readonly iface: readonly string[];
  readonly ifaceRegex: readonly string[];
  readonly canReach: Address | undefined;
  readonly publicIp: Address | undefined;
  readonly publicIpv6: Address | undefined;
}

export interface TrafficOptions {
  readonly masquerade: boolean;
  /** Whether masquerading draws its ports at random. */
  readonly randomFully: boolean;
  /** Where pods' packets keep their address, besides the network. */
  readonly unmasqueraded: readonly Cidr[];
  readonly forward: boolean;
  /** Seconds. */
  readonly resync: number;
  readonly blackholeRoute: boolean;
}

/** What the command line asks for. */
export type Request =
  | { readonly action: "help" }
  | { readonly action: "version" }
  | { readonly action: "run"; readonly options: Options }
  /** `flanneld status` and the like, with the same flags. */
  | { readonly action: "command"; readonly words: readonly string[]; readonly options: Options };

type Environment = Readonly<Record<string, string | undefined>>;

const text = (value: string, help: string) => ({ kind: "text", default: value, help }) as const;
const list = (help: string) => ({ kind: "list", help }) as const;
const yes = (value: boolean, help: string) => ({ kind: "switch", default: value, help }) as const;
const number = (value: number, min: number, max: number, help: string) =>
  ({ kind: "number", default: value, min, max, help }) as const;

const flags = {
  "etcd-endpoints": text(
    "http://127.0.0.1:4001,http://127.0.0.1:2379",
    "etcd's addresses, separated by commas",
  ),
  "etcd-prefix": text("/coreos.com/network", "prefix of flannel's keys in etcd"),
  "etcd-keyfile": text("", "key of the client certificate for etcd (PEM)"),
  "etcd-certfile": text("", "client certificate for etcd (PEM)"),
  "etcd-cafile": text("", "certificates of the authorities that etcd's must be signed by (PEM)"),
  "etcd-username": text("", "user name for etcd"),
  "etcd-password": text("", "password for etcd"),
  "kube-subnet-mgr": yes(false, "gets leases from the Kubernetes API instead of etcd"),
  "kube-api-url": text("", "URL of the Kubernetes API; not needed in a pod"),
  "kubeconfig-file": text("", "kubeconfig with the URL and the credentials; not needed in a pod"),
  "kube-annotation-prefix": text(
    "flannel.alpha.coreos.com",
    "prefix of flannel's annotations; may have one slash",
  ),
  "net-config-path": text(netConfFile, "file with the network's config, with --kube-subnet-mgr"),
  "set-node-network-unavailable": yes(
    true,
    "tells the Kubernetes API when the node's network is up",
  ),
  iface: list("interface to the other nodes, by name or address; the first that fits"),
  "iface-regex": list("the same as a regular expression, for addresses and then names"),
  "iface-can-reach": text("", "address that the interface leads to"),
  "public-ip": text("", "IPv4 address at which other nodes reach this one"),
  "public-ipv6": text("", "IPv6 address at which other nodes reach this one"),
  "subnet-file": text(subnetFile, "file to write for the CNI plugin"),
  "subnet-lease-renew-margin": number(
    60,
    -Infinity,
    Infinity,
    "minutes before a lease's end at which it is renewed at the latest, 1 to 1439",
  ),
  "ip-masq": yes(false, "masquerades what leaves the network"),
  "ip-masq-fully-random-disable": yes(false, "keeps the ports of masqueraded connections"),
  "ip-masq-exclude": text(
    "",
    "networks to which pods send with their own address, separated by commas, with --ip-masq",
  ),
  "iptables-resync": number(5, 1, 86_400, "seconds between two looks at the rules"),
  "iptables-forward-rules": yes(true, "accepts forwarding to and from the network"),
  "ip-blackhole-route": yes(false, "drops packets to addresses of the node's subnet without a pod"),
  "healthz-ip": text("0.0.0.0", "address of the health server"),
  "healthz-port": number(0, 0, 65_535, "port of the health server, or 0 for none"),
  "dry-run": yes(false, "prints what would be done, and does nothing"),
  v: number(0, -0x8000_0000, 0x7fff_ffff, "how much the log tells"),
  vmodule: text("", "taken and not used"),
  log_backtrace_at: text("", "taken and not used"),
} as const satisfies Flags;

/** Flags without an environment variable: FLANNELD_VERSION in an image is not a flag. */
const immediate = {
  version: yes(false, "prints the version"),
  help: yes(false, "prints this"),
  h: yes(false, "prints this"),
} as const satisfies Flags;

export const usage = `flanneld gives a node its subnet and joins it to the other nodes of a cluster.

Usage: flanneld [flag...]
       flanneld [flag...] status | check | cleanup [--force]

Each flag can be an environment variable: FLANNELD_IP_MASQ=true for --ip-masq.

${describeFlags(flags)}  --version
        prints the version
  --help
        prints this
`;

/**
 * Reads flags and environment.
 * @throws UsageError
 */
export function readOptions(args: readonly string[], env: Environment): Request {
  const { values, operands } = parseFlags({ ...flags, ...immediate }, args, (variable) =>
    variable === "FLANNELD_VERSION" || variable === "FLANNELD_HELP" || variable === "FLANNELD_H"
      ? undefined
      : env[variable],
  );
  if (values.help || values.h) return { action: "help" };
  if (values.version) return { action: "version" };
  const margin = values["subnet-lease-renew-margin"];
  if (margin < 1 || margin > 1439) {
    throw new UsageError(
      `Cannot read the flags: --subnet-lease-renew-margin must be from 1 to 1439 minutes (got ${margin})`,
    );
  }
  const options: Options = {
    leases: values["kube-subnet-mgr"] ? kubeOptions(values, env) : etcdOptions(values),
    interface: {
      iface: values.iface.filter((name) => name !== ""),
      ifaceRegex: values["iface-regex"].filter((pattern) => pattern !== "").map(checkedPattern),
      canReach: address(values["iface-can-reach"], "--iface-can-reach", undefined),
      publicIp: address(values["public-ip"], "--public-ip", 4),
      publicIpv6: address(values["public-ipv6"], "--public-ipv6", 6),
    },
    subnetFile: values["subnet-file"],
    traffic: {
      masquerade: values["ip-masq"],
      randomFully: !values["ip-masq-fully-random-disable"],
      unmasqueraded: networks(values["ip-masq-exclude"], "--ip-masq-exclude"),
      forward: values["iptables-forward-rules"],
      resync: values["iptables-resync"],
      blackholeRoute: values["ip-blackhole-route"],
    },
    health: { host: values["healthz-ip"], port: values["healthz-port"] },
    verbosity: values.v,
    wireguardKeyFile: setIn(env, "WIREGUARD_KEY_FILE") ?? wireguardKeyFile,
    notifySocket: setIn(env, "NOTIFY_SOCKET"),
    dryRun: values["dry-run"],
  };
  return operands.length === 0
    ? { action: "run", options }
    : { action: "command", words: operands, options };
}

function kubeOptions(values: Values<typeof flags>, env: Environment): KubeOptions {
  const [namespace, name] = [setIn(env, "POD_NAMESPACE"), setIn(env, "POD_NAME")];
  return {
    kind: "kube",
    apiUrl: values["kube-api-url"],
    kubeconfig: values["kubeconfig-file"],
    annotationPrefix: values["kube-annotation-prefix"],
    netConfPath: values["net-config-path"],
    setNodeNetworkUnavailable: values["set-node-network-unavailable"],
    nodeName: setIn(env, "NODE_NAME"),
    pod: namespace === undefined || name === undefined ? undefined : { namespace, name },
  };
}

function etcdOptions(values: Values<typeof flags>): EtcdOptions {
  return {
    kind: "etcd",
    endpoints: values["etcd-endpoints"]
      .split(",")
      .map((endpoint) => endpoint.trim())
      .filter((endpoint) => endpoint !== ""),
    prefix: values["etcd-prefix"].replaceAll(/\/+/g, "/").replace(/\/$/, ""),
    keyFile: values["etcd-keyfile"],
    certFile: values["etcd-certfile"],
    caFile: values["etcd-cafile"],
    username: values["etcd-username"],
    password: values["etcd-password"],
    renewMargin: values["subnet-lease-renew-margin"],
  };
}

/** A variable's value; an empty one counts as unset. */
function setIn(env: Environment, variable: string): string | undefined {
  const value = env[variable];
  return value === "" ? undefined : value;
}

function address(value: string, flag: string, family: Family | undefined): Address | undefined {
  if (value === "") return undefined;
  try {
    const found = parseAddress(value);
    if ((family ?? found.family) === found.family && !isUnspecified(found)) return found;
  } catch (error) {
    if (!(error instanceof NetError)) throw error;
  }
  throw new UsageError(
    `Cannot read the flags: ${flag} must be an IP${family === undefined ? "" : `v${family}`} address (got ${JSON.stringify(value)})`,
  );
}

/** A list of networks, separated by commas. */
function networks(value: string, flag: string): Cidr[] {
  const texts = value.split(",").map((part) => part.trim());
  return texts
    .filter((part) => part !== "")
    .map((part) => {
      try {
        return subnetOf(parseCidr(part));
      } catch (error) {
        if (!(error instanceof NetError)) throw error;
        throw new UsageError(
          `Cannot read the flags: ${flag} must be networks such as 10.0.0.0/8 (got ${JSON.stringify(part)})`,
        );
      }
    });
}

function checkedPattern(pattern: string): string {
  try {
    parseGoPattern(pattern);
    return pattern;
  } catch (cause) {
    if (!(cause instanceof PatternError)) throw cause;
    throw new UsageError(
      `Cannot read the flags: --iface-regex ${cause.message} (got ${JSON.stringify(pattern)})`,
      { cause },
    );
  }
}
