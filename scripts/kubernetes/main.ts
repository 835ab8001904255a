/**
 * Builds Kubernetes, the Go flannel, the reference plugins and helm, once, for `make test-cluster`:
 *
 *   main.ts [--check] [--minutes=N]
 *
 * --check: says what Go it would build with, or why this machine can have no clusters, and builds nothing.
 * --minutes: ends what takes longer.
 *
 * A program is there whole or not at all. What an interrupted run has compiled is in Go's own cache.
 */
import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { parseArgs } from "node:util";
import { execa } from "execa";
import { print } from "../terminal.ts";
import { flannelModule, kubernetesModule, plainModule, type ModuleFiles } from "./go_modules.ts";
import {
  goFlannel,
  helm,
  kubernetes,
  missingPrograms,
  missingTexts,
  referencePlugins,
  type Release,
} from "./programs.ts";
import { lackOf, thisMachine } from "./requirements.ts";

/** The oldest Go that builds them: [major, minor]. */
const oldestGo = [1, 26] as const;

interface Recipe {
  readonly release: Release;
  readonly module: string;
  /** Makes the files of a module that builds some packages. */
  readonly files: (packages: readonly string[]) => Promise<ModuleFiles>;
  /** The module's package that a program is made of. */
  readonly packageOf: (program: string) => string;
  readonly linkFlags: readonly string[];
  /** Whether it has parts in C. */
  readonly hasC: boolean;
}

const versionPackage = "k8s.io/component-base/version";

const kubernetesName = "k8s.io/kubernetes";
const flannelName = "github.com/flannel-io/flannel";
const pluginsName = "github.com/containernetworking/plugins";
const helmName = "helm.sh/helm/v3";

/** The folders of those reference plugins that are not in "main". */
const referenceKinds: Readonly<Record<string, string>> = { "host-local": "ipam", portmap: "meta" };

const recipes: readonly Recipe[] = [
  {
    release: kubernetes,
    module: kubernetesName,
    files: async (packages) => {
      const goMod = await download(`${kubernetesName}@${kubernetes.version}`);
      return kubernetesModule(kubernetes.version, goMod, packages);
    },
    packageOf: (program) => `${kubernetesName}/cmd/${program}`,
    linkFlags: [
      // Without these, clients take it for an unreleased version.
      `-X ${versionPackage}.gitVersion=${kubernetes.version}`,
      ...[`-X ${versionPackage}.gitMajor=1`, `-X ${versionPackage}.gitMinor=34`],
    ],
    hasC: false,
  },
  {
    release: goFlannel,
    module: flannelName,
    files: async (packages) => flannelModule(goFlannel.version, packages),
    packageOf: (program) =>
      program === "flanneld" ? flannelName : `${flannelName}/cmd/install_conf`,
    linkFlags: [
      `-X ${flannelName}/pkg/version.Version=${goFlannel.version}`,
      // For an image without libraries.
      "-linkmode external -extldflags -static",
    ],
    hasC: true,
  },
  {
    release: referencePlugins,
    module: pluginsName,
    files: async (packages) => plainModule(pluginsName, referencePlugins.version, packages),
    packageOf: (program) =>
      `${pluginsName}/plugins/${referenceKinds[program] ?? "main"}/${program}`,
    linkFlags: [],
    hasC: false,
  },
  {
    release: helm,
    module: helmName,
    files: async (packages) => plainModule(helmName, helm.version, packages),
    packageOf: () => `${helmName}/cmd/helm`,
    linkFlags: [`-X ${helmName}/internal/version.version=${helm.version}`],
    hasC: false,
  },
];

const { values: flags } = parseArgs({
  options: { check: { type: "boolean", default: false }, minutes: { type: "string" } },
});
/** When what is under way is ended. */
const deadline = Date.now() + Number(flags.minutes ?? Number.POSITIVE_INFINITY) * 60_000;

/** How long a proxy of Go's modules may take to say that it has one. */
const answerLimitMs = 120_000;

try {
  const unfinished = recipes.filter(
    ({ release }) => missingPrograms(release).length + missingTexts(release).length > 0,
  );
  if (flags.check) await check(unfinished);
  else await buildAll(unfinished);
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
}

/** Throws with what this machine lacks. */
async function check(unfinished: readonly Recipe[]): Promise<void> {
  const isToBuild = unfinished.length > 0;
  const lack = lackOf(thisMachine([kubernetes.folder, "dist"]), isToBuild);
  if (lack !== undefined) throw new Error(lack);
  if (!isToBuild) return;
  print(`Go ${await findGo()}`);
  // What has parts in C is linked with the C library.
  const { failed } = await execa("cc", ["--version"], { reject: false });
  if (failed) throw new Error("Cannot build flannel: there is no C compiler.");
  await orFetchError(async () =>
    go(["list", "-m", `${kubernetesName}@${kubernetes.version}`], { limitMs: answerLimitMs }),
  );
}

async function buildAll(unfinished: readonly Recipe[]): Promise<void> {
  if (unfinished.length > 0) {
    await findGo();
    print("Building Kubernetes takes about ten minutes the first time, on two processors.");
  }
  for (const recipe of unfinished) await build(recipe);
  for (const { release } of recipes) print(`${release.name} ${release.version}: ${release.folder}`);
}

/** Returns Go's version, or throws with what to do. */
async function findGo(): Promise<string> {
  const advice = `Install Go ${oldestGo.join(".")} or later, then run it again.`;
  const { stdout, failed } = await execa("go", ["env", "GOVERSION"], { reject: false });
  if (failed) throw new Error(`Cannot build Kubernetes: Go is not installed.\n  ${advice}`);
  const [, major = "", minor = ""] = /^go(\d+)\.(\d+)/.exec(stdout) ?? [];
  const isOld = Number(major) === oldestGo[0] && Number(minor) < oldestGo[1];
  if (isOld)
    throw new Error(`Cannot build Kubernetes: Go is too old (got "${stdout}").\n  ${advice}`);
  return stdout.replace(/^go/, "");
}

async function build(recipe: Recipe): Promise<void> {
  const { release, module, packageOf, linkFlags, hasC } = recipe;
  const { name, version, folder, programs, texts = {} } = release;
  mkdirSync(folder, { recursive: true });
  // Of this run alone: another one may build the same.
  const work = mkdtempSync(join(folder, ".work-"));
  try {
    print(`${name} ${version}: fetching its modules`);
    const fetching = stopwatch();
    await fetchModules(work, recipe);
    print(`${name} ${version}: modules fetched (${fetching()})`);
    const source = await go(["list", "-m", "-f", "{{.Dir}}", module], { cwd: work });
    for (const text of missingTexts(release)) {
      const from = join(source, texts[text] ?? "");
      await execa("cp", ["-r", "--no-preserve=mode", from, join(work, text)]);
      renameSync(join(work, text), join(folder, text));
    }
    for (const program of missingPrograms(release)) {
      const number = `${programs.indexOf(program) + 1} of ${programs.length}`;
      print(`${program}: building, ${number}`);
      const building = stopwatch();
      const args = ["-trimpath", "-ldflags", ["-s -w", ...linkFlags].join(" ")];
      if (hasC) args.push("-tags", "netgo,osusergo");
      const file = join(work, program);
      await go(["build", ...args, "-o", file, packageOf(program)], { cwd: work, hasC });
      const megabytes = (statSync(file).size / 1e6).toFixed(0);
      renameSync(file, join(folder, program));
      print(`${program}: ${megabytes} MB (${building()})`);
    }
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** Writes the module into a folder, and fetches what it needs. */
async function fetchModules(work: string, recipe: Recipe): Promise<void> {
  const packages = recipe.release.programs.map(recipe.packageOf);
  await orFetchError(async () => {
    for (const [path, text] of Object.entries(await recipe.files(packages))) {
      mkdirSync(dirname(join(work, path)), { recursive: true });
      writeFileSync(join(work, path), text);
    }
    await go(["mod", "tidy"], { cwd: work });
  });
}

/** Says what a failure is about. */
async function orFetchError(work: () => Promise<unknown>): Promise<void> {
  try {
    await work();
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new Error(`Cannot fetch Go modules: ${why}\n  Check GOPROXY (go env GOPROXY).`, {
      cause,
    });
  }
}

/** Downloads a module. Returns its go.mod. */
async function download(module: string): Promise<string> {
  const { GoMod } = JSON.parse(await go(["mod", "download", "-json", module])) as { GoMod: string };
  return readFileSync(GoMod, "utf8");
}

interface GoOptions {
  readonly cwd?: string;
  readonly hasC?: boolean;
  readonly limitMs?: number;
}

async function go(args: readonly string[], options: GoOptions = {}): Promise<string> {
  const { cwd = "/", hasC = false, limitMs = Number.POSITIVE_INFINITY } = options;
  const timeout = Math.min(limitMs, deadline - Date.now());
  const what = `go ${args.slice(0, 2).join(" ")}`;
  if (timeout <= 0) throw new Error(`${what}: there is no time left.`);
  const env = { CGO_ENABLED: hasC ? "1" : "0", GOFLAGS: "-mod=mod", GOWORK: "off" };
  const { stdout, stderr, failed, timedOut } = await execa("go", args, {
    ...{ cwd, env, reject: false },
    ...(Number.isFinite(timeout) ? { timeout } : {}),
  });
  if (timedOut) throw new Error(`${what} took over ${(timeout / 60_000).toFixed(0)} minutes.`);
  if (failed) throw new Error(`${what} failed:\n${stderr}\n${stdout}`);
  return stdout;
}

function stopwatch(): () => string {
  const started = performance.now();
  return () => `${((performance.now() - started) / 1000).toFixed(0)} s`;
}
