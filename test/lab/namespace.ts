/** One network namespace of a sandbox: the node, a pod, or a host outside the node. */
import {
  addressesOf,
  parseList,
  type Address,
  type Link,
  type Neighbour,
  type Route,
} from "./inspect.ts";
import { run, start, type RunOptions, type RunResult, type Service } from "./process.ts";
import { enteringCommand } from "./entering.ts";

/** Runs programs in a network namespace of the sandbox and reads its state. */
export interface Namespace {
  readonly name: string;
  /** Its path inside the sandbox, which a runtime passes as CNI_NETNS. */
  readonly netnsPath: string;
  /** Runs a program; a non-zero exit code is a result, not an exception. */
  readonly exec: (
    file: string,
    args?: readonly string[],
    options?: RunOptions,
  ) => Promise<RunResult>;
  /** Runs a program and returns its output. Throws if it fails. */
  readonly output: (
    file: string,
    args?: readonly string[],
    options?: RunOptions,
  ) => Promise<string>;
  /** Runs a shell script and returns its output. Throws if it fails. */
  readonly sh: (script: string, options?: RunOptions) => Promise<string>;
  /** Starts a program that answers lines with lines, and returns after its first line. */
  readonly start: (file: string, args?: readonly string[]) => Promise<Service>;
  readonly links: () => Promise<readonly Link[]>;
  /** The link of that name. Throws if there is none. */
  readonly link: (ifname: string) => Promise<Link>;
  readonly addresses: () => Promise<readonly Address[]>;
  /** The routes of one family in the main table. */
  readonly routes: (family: 4 | 6) => Promise<readonly Route[]>;
  readonly neighbours: () => Promise<readonly Neighbour[]>;
  /** A setting under /proc/sys, such as "net/ipv4/ip_forward". */
  readonly sysctl: (key: string) => Promise<string>;
  /** Whether an address answers within four seconds. */
  readonly ping: (address: string) => Promise<boolean>;
}

/** What is needed to enter a namespace: its name, its path inside, nsenter's arguments. */
export interface NamespaceEntry {
  readonly name: string;
  readonly netnsPath: string;
  readonly nsenterArgs: readonly string[];
}

/** A namespace that programs enter by nsenter. */
export function createNamespace({ name, netnsPath, nsenterArgs }: NamespaceEntry): Namespace {
  const commandOf = (file: string, args: readonly string[], path?: string) => {
    const [program, ...entering] = enteringCommand(nsenterArgs, file, path);
    return [program, [...entering, ...args]] as const;
  };
  return {
    ...namespaceBy({ name, netnsPath }, async (file, args = [], options = {}) =>
      run(...commandOf(file, args, options.env?.["PATH"]), options),
    ),
    start: async (file, args = []) => start(...commandOf(file, args)),
  };
}

/** A namespace where `exec` runs programs, even on another machine. */
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
      // Duplicate address detection, or a bridge port that is not yet forwarding, may delay answers.
      const result = await exec("ping", ["-n", "-c", "1", "-w", "4", "-i", "0.2", address]);
      return result.exitCode === 0;
    },
  };
}
