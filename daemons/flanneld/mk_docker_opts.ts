import { statSync, writeFileSync } from "node:fs";
import { messageOf } from "../../shared/base/failure.ts";
import { ensureFolderOf, replaceFile } from "../../shared/files/files.ts";
import { readIfPresent } from "../../shared/files/read_file.ts";
import { dockerOptsFile, subnetFile } from "../../shared/files/paths.ts";
import { parseCidr, sameCidr, subnetOf } from "../../shared/net/cidr.ts";
import { Node } from "../../shared/node/node.ts";
import type { LastingSys } from "../../shared/runtime/sys.ts";

const usage = `mk-docker-opts.sh turns the file that flanneld writes into options of dockerd.

Usage: mk-docker-opts.sh [-f FILE] [-d FILE] [-i] [-c] [-m] [-k KEY]

  -f FILE  what flanneld has written (default ${subnetFile})
  -d FILE  where to write docker's options (default ${dockerOptsFile})
  -i       each option as a variable of its own, such as DOCKER_OPT_MTU
  -c       all options in one variable; without -i and -c it does both
  -k KEY   that variable's name (default DOCKER_OPTS)
  -m       leaves --ip-masq out
`;

interface Options {
  readonly env: string;
  readonly out: string;
  readonly individual: boolean;
  readonly combined: boolean;
  readonly ipMasq: boolean;
  readonly key: string;
}

/** The options or FLANNEL_IPMASQ are wrong. */
class InputError extends Error {}

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * Writes options for dockerd, so that its bridge takes the node's subnet.
 * @returns the exit status.
 */
export function mkDockerOpts(sys: LastingSys, args: readonly string[]): number {
  try {
    const options = readOptions(args);
    const variables = readVariables(readIfPresent(options.env) ?? "");
    const text = dockerOptions(variables, options, sys.env);
    write(options.out, text);
    const subnet = variables.get("FLANNEL_SUBNET");
    const route = subnet === undefined ? undefined : routeElsewhere(sys, subnet);
    if (route === undefined) return 0;
    sys.write(2, `Cannot give docker this subnet: a route leads it elsewhere (${route}).\n`);
  } catch (error) {
    sys.write(2, error instanceof InputError ? error.message : `${messageOf(error)}\n`);
  }
  return 1;
}

function write(path: string, text: string): void {
  // Not in the place of /dev/stdout, which a rename would replace.
  if (statSync(path, { throwIfNoEntry: false })?.isFile() === false) {
    writeFileSync(path, text);
    return;
  }
  ensureFolderOf(path);
  replaceFile(path, text, 0o644);
}

/** With POSIX getopts' syntax: `-ic`, `-k KEY`, `-kKEY`. */
function readOptions(args: readonly string[]): Options {
  const given = new Map<string, string>();
  for (let at = 0; at < args.length; at++) {
    const arg = args[at] ?? "";
    if (!arg.startsWith("-") || arg === "-" || arg === "--") break;
    for (let letter = 1; letter < arg.length; letter++) {
      const option = arg.charAt(letter);
      if ("icm".includes(option)) {
        given.set(option, "");
        continue;
      }
      if (!"fdk".includes(option)) throw new InputError(usage);
      const value = letter + 1 < arg.length ? arg.slice(letter + 1) : args[++at];
      if (value === undefined) throw new InputError(usage);
      given.set(option, value);
      break;
    }
  }
  const printsAll = !given.has("i") && !given.has("c");
  return {
    env: given.get("f") ?? subnetFile,
    out: given.get("d") ?? dockerOptsFile,
    individual: printsAll || given.has("i"),
    combined: printsAll || given.has("c"),
    ipMasq: !given.has("m"),
    key: given.get("k") ?? "DOCKER_OPTS",
  };
}

function readVariables(text: string): ReadonlyMap<string, string> {
  return new Map(
    text.split("\n").flatMap((line): [string, string][] => {
      const [, name = "", value = ""] = /^\s*(?:export\s+)?(\w+)=(.*?)\s*$/.exec(line) ?? [];
      return value === "" ? [] : [[name, value.replace(/^(["'])(.*)\1$/, "$2")]];
    }),
  );
}

function dockerOptions(
  variables: ReadonlyMap<string, string>,
  options: Options,
  env: Environment,
): string {
  const [subnet, mtu] = [variables.get("FLANNEL_SUBNET"), variables.get("FLANNEL_MTU")];
  const ipMasq = options.ipMasq ? variables.get("FLANNEL_IPMASQ") : undefined;
  if (ipMasq !== undefined && ipMasq !== "true" && ipMasq !== "false") {
    throw new InputError(`Cannot use FLANNEL_IPMASQ: it must be true or false (got ${ipMasq}).\n`);
  }
  // Docker need not masquerade what flanneld masquerades.
  const dockerMasq = ipMasq === "false";
  const named: readonly [name: string, value: string][] = [
    ...(subnet === undefined ? [] : [["DOCKER_OPT_BIP", `--bip=${subnet}`] as const]),
    ...(ipMasq === undefined
      ? []
      : [["DOCKER_OPT_IPMASQ", `--ip-masq=${String(dockerMasq)}`] as const]),
    ...(mtu === undefined ? [] : [["DOCKER_OPT_MTU", `--mtu=${mtu}`] as const]),
  ].map(([name, value]) => [name, value]);
  const lines = options.individual ? named.map(([name, value]) => `${name}="${value}"\n`) : [];
  const before = env[options.key] ?? "";
  const all = named.map(([, value]) => ` ${value}`).join("");
  if (options.combined) {
    lines.push(`${options.key}="${before === "" ? "" : `${before} `}${all}"\n`);
  }
  return lines.join("");
}

/** A route of the subnet by a gateway, in words: then docker's bridge would take another's packets. */
function routeElsewhere(sys: LastingSys, text: string): string | undefined {
  const subnet = subnetOf(parseCidr(text));
  const node = new Node(sys);
  try {
    const found = node.host
      .routes()
      .find(({ dst, gw }) => gw !== undefined && sameCidr(dst, subnet));
    return found === undefined ? undefined : text;
  } finally {
    node.close();
  }
}
