/** One network namespace of a sandbox: the node itself, a pod, or a host outside of the node. */
import {
  addressesOf,
  parseList,
  type Address,
  type Link,
  type Neighbour,
  type Route,
} from "./inspect.ts";
import { run, start, type RunOptions, type RunResult, type Service } from "./process.ts";
import { pathOf } from "./requirements.ts";

/** Runs programs in a network namespace of the sandbox and reads its state. */
export interface Namespace {
  readonly name: string;
  /** Its path inside of the sandbox: what a runtime passes as CNI_NETNS. */
  readonly netnsPath: string;
  /** Runs a program; a non-zero exit code is a result, not an exception. */
  readonly exec: (
    file: string,
    args?: readonly string[],
    options?: RunOptions,
  ) => Promise<RunResult>;
  /** Runs a program and returns its output; throws when it fails. */
  readonly output: (
    file: string,
    args?: readonly string[],
    options?: RunOptions,
  ) => Promise<string>;
  /** The same with a shell script. */
  readonly sh: (script: string, options?: RunOptions) => Promise<string>;
  /** Starts a program that answers lines with lines, and returns when it has said the first. */
  readonly start: (file: string, args?: readonly string[]) => Promise<Service>;
  readonly links: () => Promise<readonly Link[]>;
  /** The link of that name; throws when there is none. */
  readonly link: (ifname: string) => Promise<Link>;
  readonly addresses: () => Promise<readonly Address[]>;
  /** The main table's routes of one family. */
  readonly routes: (family: 4 | 6) => Promise<readonly Route[]>;
  readonly neighbours: () => Promise<readonly Neighbour[]>;
  /** A setting under /proc/sys, such as "net/ipv4/ip_forward". */
  readonly sysctl: (key: string) => Promise<string>;
  /** Whether an address answers within four seconds. */
  readonly ping: (address: string) => Promise<boolean>;
}

/** How to enter a namespace: its name, its path inside, and nsenter's arguments. */
export interface NamespaceEntry {
  readonly name: string;
  readonly netnsPath: string;
  readonly nsenterArgs: readonly string[];
}

/** A namespace that is entered by nsenter. */
export function createNamespace({ name, netnsPath, nsenterArgs }: NamespaceEntry): Namespace {
  // By its path, for PATH is the program's own that is run.
  const nsenter = pathOf("nsenter") ?? "nsenter";
  return {
    ...namespaceBy({ name, netnsPath }, async (file, args = [], options = {}) =>
      run(nsenter, [...nsenterArgs, "--", file, ...args], options),
    ),
    start: async (file, args = []) => start(nsenter, [...nsenterArgs, "--", file, ...args]),
  };
}

/** A namespace wherever `exec` runs its programs, be it another machine. */
export function namespaceBy(
  { name, netnsPath }: Pick<NamespaceEntry, "name" | "netnsPath">,
  exec: Namespace["exec"],
): Omit<Namespace, "start"> {
  const output: Namespace["output"] = async (file, args = [], options = {}) => {
    const result = await exec(file, args, options);
    if (result.exitCode !== 0) {
      const why = result.timedOut ? "it took too long" : result.stderr.trim();
      const command = [file, ...args].join(" ");
      throw new Error(`In ${name}, \`${command}\` failed (${result.exitCode}): ${why}`);
    }
    return result.stdout;
  };
  const links = async (): Promise<readonly Link[]> =>
    parseList(await output("ip", ["-d", "-j", "address"])) as readonly Link[];
  return {
    name,
    netnsPath,
    exec,
    output,
    sh: async (script, options) => output("sh", ["-ec", script], options),
    links,
    async link(ifname) {
      const all = await links();
      const found = all.find((link) => link.ifname === ifname);
      if (found !== undefined) return found;
      throw new Error(`No link ${ifname} in ${name}: ${all.map((link) => link.ifname).join(" ")}`);
    },
    async addresses() {
      return addressesOf(await links());
    },
    async routes(family) {
      return parseList(await output("ip", [`-${family}`, "-j", "route"])) as readonly Route[];
    },
    async neighbours() {
      return parseList(await output("ip", ["-j", "neighbour"])) as readonly Neighbour[];
    },
    async sysctl(key) {
      return (await output("cat", [`/proc/sys/${key}`])).trim();
    },
    async ping(address) {
      // The first answers may wait for duplicate address detection or for a bridge port to open.
      const result = await exec("ping", ["-n", "-c", "1", "-w", "4", "-i", "0.2", address]);
      return result.exitCode === 0;
    },
  };
}
