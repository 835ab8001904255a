/**
 * Checks who imports whom. A layer imports only what is below it, and each package has one place that
 * imports it. (The linter finds cycles between files: import/no-cycle.)
 */
import { globSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { parseSync } from "oxc-parser";
import { mirrorProblems } from "./mirror.ts";

const lab = ["test/lab/", "plugins/builtins.ts", "shared/net/", "shared/base/"];
const blackBox = ["test/helpers/", ...lab];

/** Folder → what its files may import, besides each other. `type X`: only types. `X/*`: only the files right in it. */
const layers: Readonly<Record<string, readonly string[]>> = {
  // The entries, one per runtime, import all programs. No other program imports another.
  "plugins/": ["plugins/", "tools/", "daemons/", "shared/"],
  "plugins/*/": ["shared/", "schemas/"],
  "tools/*/": ["shared/", "schemas/"],
  "daemons/*/": ["shared/", "schemas/"],
  // What ADD and pods need of a node, for STATUS and doctor.
  "shared/preconditions/": [
    ...["shared/ipam/", "shared/cni/", "shared/node/", "shared/firewall/", "shared/files/"],
    ...["shared/net/", "shared/base/"],
  ],
  // Calls that one process takes from another.
  "shared/agent/": [
    ...["shared/cni/", "shared/node/", "shared/firewall/", "shared/netlink/", "shared/files/"],
    ...["shared/daemon/", "shared/runtime/", "shared/base/"],
  ],
  // Networks and calls as a container runtime has them.
  "shared/libcni/": ["shared/cni/", "shared/files/", "shared/net/", "shared/base/", "schemas/"],
  // host-local's reservations.
  "shared/ipam/": ["shared/cni/", "shared/files/", "shared/net/", "shared/base/", "schemas/"],
  "shared/cni/": [
    ...["shared/node/", "shared/firewall/", "shared/files/", "shared/runtime/"],
    ...["shared/net/", "shared/base/", "schemas/"],
  ],
  // Nothing below this line knows CNI, so that a daemon can use it as a plugin does.
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
  // Command lines: parsing, help, errors, what is printed for people.
  "shared/cli/": ["shared/runtime/", "shared/base/"],
  "shared/runtime/": ["shared/base/"],
  "shared/net/": [],
  "shared/base/": [],
  "schemas/": [],
  // What builds, checks, releases, measures and shows the programs.
  "scripts/": [],
  "scripts/build/": [
    ...["scripts/*", "plugins/builtins.ts", "shared/agent/protocol.ts", "shared/files/"],
    "shared/base/",
  ],
  "scripts/check/": ["scripts/*"],
  "scripts/release/": ["scripts/*", "plugins/builtins.ts", "shared/files/"],
  "scripts/demo/": ["scripts/*", "test/lab/"],
  "scripts/kubernetes/": ["scripts/*"],
  // Its floor is a plugin that does as little as one can.
  "scripts/bench/": [
    ...["scripts/*", "scripts/build/", "test/lab/", "test/helpers/flanneld.ts"],
    ...["plugins/builtins.ts", "shared/"],
  ],
  // Nodes to try any plugin on: independent of the code under test, and of the test runner.
  "test/lab/": [
    ...["scripts/build/bun.ts", "scripts/kubernetes/programs.ts", "shared/net/"],
    "type shared/base/",
  ],
  // What tests share: our plugins, our networks, and what is expected of them.
  "test/helpers/": [
    ...[...lab, "shared/runtime/sys_node.ts", "test/static_flanneld/"],
    "scripts/kubernetes/programs.ts",
  ],
  // flanneld with leases that a test writes down, on a kernel that may refuse a request.
  "test/static_flanneld/": [
    ...[...blackBox, "scripts/build/", "daemons/", "shared/", "test/fault/faulty_sys.ts"],
  ],
  // They know of the executables what a user does.
  "test/netns/": [...blackBox, "test/static_flanneld/"],
  "test/interop/": blackBox,
  "test/e2e/": blackBox,
  "test/vm/": blackBox,
  "test/cluster/": [...blackBox, "scripts/kubernetes/programs.ts"],
  "test/golden/": blackBox,
  "test/fuzz/": [...blackBox, "test/unit/fuzz/"],
  // Faults of a runtime are made inside the process.
  "test/fault/": [
    ...[...blackBox, "plugins/", "shared/", "test/unit/", "test/static_flanneld/"],
    "scripts/build/bun.ts",
  ],
  // For tests of no file in particular. Those of a file: see unitLayer.
  "test/unit/": [
    ...["plugins/", "shared/", "tools/", "daemons/", "schemas/", "scripts/kubernetes/programs.ts"],
  ],
};

/**
 * What each unit test may import, besides what the file that it mirrors may, and their tests' helpers:
 * schemas and the codes that errors become have no layer of their own in a test.
 */
const unitTests = [
  ...["test/unit/*", "schemas/", "shared/cni/error.ts", "scripts/build/bun.ts"],
  // What is bundled for an engine that the test runs in itself.
  "scripts/build/bundle.ts",
  // A server to talk to.
  ...["test/lab/certificates.ts", "test/lab/kube_api.ts"],
];

/** Package or built-in module → the files that may import it. No file may import any other package. */
const packages: Readonly<Record<string, RegExp>> = {
  "netlink/dist/": /^shared\/netlink\/(link_)?codec\.ts$/,
  "ip-cidr": /^shared\/net\/(ipv6|subnets)\.ts$/,
  "@grpc/grpc-js": /^shared\/etcd\/\w+\.ts$/,
  vega: /^scripts\/bench\/chart\.ts$/,
  "vega-lite": /^scripts\/bench\/chart\.ts$/,
  yaml: /^shared\/kube\/\w+\.ts$/,
  koffi: /^shared\/runtime\/sys_node\.ts$/,
  bun: /_bun\.ts$/,
  "node:child_process": /^shared\/runtime\/sys_\w+\.ts$/,
  "node:": /./,
};

/** These load native code from a path that exists only where the package is installed. */
const forbidden = ["netlink/dist/rt/rt", "netlink/dist/index", "netlink/dist/raw"];

interface Import {
  readonly file: string;
  readonly line: number;
  readonly from: string;
  readonly typeOnly: boolean;
}

if (import.meta.main) {
  const files = globSync("{plugins,tools,daemons,shared,schemas,scripts,test}/**/*.ts", {
    exclude: ["schemas/generated/**"],
  });
  const texts = files.map((file) => ({ file, text: readFileSync(file, "utf8") }));
  const problems = [...problemsOf(texts), ...mirrorProblems(globSync("test/unit/**/*.ts"))];
  if (problems.length > 0) console.log(problems.join("\n"));
  process.exitCode = problems.length > 0 ? 1 : 0;
}

/** What is wrong with the imports of some files, a line each. */
export function problemsOf(
  files: readonly { readonly file: string; readonly text: string }[],
): readonly string[] {
  const imports = files.flatMap(({ file, text }) => importsOf(file, text));
  const problems = imports.flatMap((found) => {
    const problem = found.from.startsWith(".") ? layerProblem(found) : packageProblem(found);
    return problem === undefined ? [] : [`${found.file}:${found.line}: ${problem}`];
  });
  return problems;
}

function importsOf(file: string, text: string): Import[] {
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
  const { folder, allowed } = layerOf(file);
  if (allowed === undefined) return `${folder} is no layer that scripts/check/layers.ts knows`;
  const may = [folder, ...allowed].some((entry) => {
    const [path = "", onlyTypes] = entry.split(" ").toReversed();
    const isThere = path.endsWith("/*")
      ? dirname(target) === path.slice(0, -2)
      : target.startsWith(path);
    return isThere && (onlyTypes === undefined || typeOnly);
  });
  const kind = typeOnly ? "types of " : "";
  return may ? undefined : `${folder} may not import ${kind}${target}`;
}

interface Layer {
  readonly folder: string;
  /** What its files may import; undefined if there is no such layer. */
  readonly allowed: readonly string[] | undefined;
}

/** The layer that a file belongs to. */
function layerOf(file: string): Layer {
  const parts = file.split("/");
  const [top = "", second = ""] = parts;
  if (top === "test" && second === "unit" && parts.length > 4) return unitLayer(file);
  if (top === "schemas" || parts.length < 3) {
    return { folder: `${top}/`, allowed: layers[`${top}/`] };
  }
  const folder = `${top}/${second}/`;
  const isProgram = ["plugins", "tools", "daemons"].includes(top);
  return { folder, allowed: layers[isProgram ? `${top}/*/` : folder] };
}

/** A unit test has the layer of the file that it mirrors. */
function unitLayer(file: string): Layer {
  const unit = "test/unit/";
  const { folder, allowed } = layerOf(file.slice(unit.length));
  // What is about no file in particular is for all.
  if (allowed === undefined) return { folder: unit, allowed: layers[unit] };
  const mirrored = [folder, ...allowed].flatMap((entry) => [entry, `${unit}${entry}`]);
  return { folder: `${unit}${folder}`, allowed: [...mirrored, ...unitTests] };
}

/** Whether a file may end up in the executable. */
function isProduct(file: string): boolean {
  return !/^(scripts|test)\//.test(file);
}

function packageProblem({ file, from, typeOnly }: Import): string | undefined {
  if (!isProduct(file)) return undefined;
  if (forbidden.some((path) => from.startsWith(path))) return `${from} loads native code`;
  const key = Object.keys(packages).find((name) => from.startsWith(name));
  if (key === undefined) return `${from} is not for what ends up in the executable`;
  if (typeOnly || packages[key]?.test(file) === true) return undefined;
  return `${from} is not for this file (scripts/check/layers.ts says for which)`;
}
