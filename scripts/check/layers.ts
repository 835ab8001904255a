/**
 * Checks who imports whom. A layer uses what is below it and never the other way round; a package
 * has one file that knows it. (Cycles between files are the linter's: import/no-cycle.)
 */
import { globSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { parseSync } from "oxc-parser";

/** Folder → what its files may import apart from each other. `type X`: types alone. */
const layers: Readonly<Record<string, readonly string[]>> = {
  // The entries, one for each runtime, put everything together; of the rest no program imports another.
  "plugins/": ["plugins/", "tools/", "daemons/", "shared/"],
  "plugins/*/": ["shared/", "schemas/"],
  "tools/*/": ["shared/", "schemas/"],
  "daemons/*/": ["shared/", "schemas/"],
  // Networks and calls as a container runtime has them.
  "shared/libcni/": ["shared/cni/", "shared/files/", "shared/net/", "shared/base/", "schemas/"],
  // host-local's reservations.
  "shared/ipam/": ["shared/cni/", "shared/files/", "shared/net/", "shared/base/", "schemas/"],
  "shared/cni/": [
    ...["shared/node/", "shared/firewall/", "shared/files/", "shared/runtime/"],
    ...["shared/net/", "shared/base/", "schemas/"],
  ],
  // Nothing from here on knows CNI: a daemon uses it as a plugin does.
  "shared/flannel/": ["shared/files/", "shared/net/", "shared/base/", "schemas/"],
  // The Kubernetes API, and etcd.
  "shared/kube/": ["shared/daemon/", "shared/base/"],
  "shared/etcd/": ["shared/daemon/", "shared/base/"],
  // What any process that stays needs.
  "shared/daemon/": ["shared/runtime/", "shared/base/"],
  "shared/firewall/": [
    ...["shared/netlink/", "shared/files/", "shared/runtime/", "shared/net/", "shared/base/"],
  ],
  "shared/node/": [
    ...["shared/netlink/", "shared/files/", "shared/runtime/", "shared/net/", "shared/base/"],
  ],
  "shared/netlink/": ["shared/runtime/", "shared/net/", "shared/base/"],
  "shared/files/": ["shared/runtime/", "shared/base/"],
  "shared/runtime/": ["shared/base/"],
  "shared/net/": [],
  "shared/base/": [],
  "schemas/": [],
};

/** Package or built-in module → the files that may import it. Packages not named here: none. */
const packages: Readonly<Record<string, RegExp>> = {
  "netlink/dist/": /^shared\/netlink\/codec\.ts$/,
  "ip-cidr": /^shared\/net\/(ipv6|subnets)\.ts$/,
  "@grpc/grpc-js": /^shared\/etcd\/\w+\.ts$/,
  yaml: /^shared\/kube\/\w+\.ts$/,
  koffi: /^shared\/runtime\/sys_node\.ts$/,
  bun: /_bun\.ts$/,
  "node:child_process": /^shared\/runtime\/sys_\w+\.ts$/,
  "node:": /./,
};

/** These load native code from a path that only exists where the package is installed. */
const forbidden = ["netlink/dist/rt/rt", "netlink/dist/index", "netlink/dist/raw"];

interface Import {
  readonly file: string;
  readonly line: number;
  readonly from: string;
  readonly typeOnly: boolean;
}

const files = globSync("{plugins,tools,daemons,shared,schemas}/**/*.ts", {
  exclude: ["schemas/generated/**"],
});
const imports = files.flatMap(importsOf);
const problems = imports.flatMap((found) => {
  const problem = found.from.startsWith(".") ? layerProblem(found) : packageProblem(found);
  return problem === undefined ? [] : [`${found.file}:${found.line}: ${problem}`];
});
console.log(problems.join("\n"));
process.exitCode = problems.length > 0 ? 1 : 0;

function importsOf(file: string): Import[] {
  const text = readFileSync(file, "utf8");
  const { staticImports, staticExports, dynamicImports } = parseSync(file, text).module;
  const found = (start: number, from: string, typeOnly: boolean): Import => ({
    file,
    line: text.slice(0, start).split("\n").length,
    from,
    typeOnly,
  });
  return [
    ...staticImports.map(({ start, moduleRequest, entries }) =>
      found(
        start,
        moduleRequest.value,
        entries.length > 0 && entries.every((entry) => entry.isType),
      ),
    ),
    ...staticExports.flatMap(({ start, entries }) =>
      entries.flatMap(({ moduleRequest, isType }) =>
        moduleRequest === null ? [] : [found(start, moduleRequest.value, isType)],
      ),
    ),
    ...dynamicImports.map(({ start, moduleRequest }) => {
      const quoted = text.slice(moduleRequest.start, moduleRequest.end);
      return found(start, quoted.slice(1, -1), false);
    }),
  ];
}

function layerProblem({ file, from, typeOnly }: Import): string | undefined {
  const target = join(dirname(file), from);
  const own = layerOf(file);
  const allowed = layers[own.rule];
  if (allowed === undefined) return `${own.folder} is no layer that scripts/check/layers.ts knows`;
  const may = [own.folder, ...allowed].some((entry) => {
    const [path = "", onlyTypes] = entry.split(" ").toReversed();
    return target.startsWith(path) && (onlyTypes === undefined || typeOnly);
  });
  const kind = typeOnly ? "types of " : "";
  return may ? undefined : `${own.folder} may not import ${kind}${target}`;
}

/** The folder whose files make one layer with this one, and its key in the table above. */
function layerOf(file: string): { rule: string; folder: string } {
  const [top = "", second = "", third] = file.split("/");
  if (top === "schemas" || third === undefined) return { rule: `${top}/`, folder: `${top}/` };
  const folder = `${top}/${second}/`;
  return { rule: top === "shared" ? folder : `${top}/*/`, folder };
}

function packageProblem({ file, from, typeOnly }: Import): string | undefined {
  if (forbidden.some((path) => from.startsWith(path))) return `${from} loads native code`;
  const key = Object.keys(packages).find((name) => from.startsWith(name));
  if (key === undefined) return `${from} is not for what ends up in the executable`;
  if (typeOnly || packages[key]?.test(file) === true) return undefined;
  return `${from} is not for this file (scripts/check/layers.ts says for which)`;
}
