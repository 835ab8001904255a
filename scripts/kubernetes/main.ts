/**
 * Builds Kubernetes, the Go flanneld and helm, once, for `make test-cluster`:
 *
 *   main.ts [--check]    --check: says what Go it would build with, or why it cannot, and builds nothing
 *
 * A program is there whole or not at all. What an interrupted run has compiled is in Go's own cache.
 * The exit code is 2 if modules could not be fetched.
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
import { execa } from "execa";
import { print } from "../terminal.ts";
import { flannelModule, helmModule, kubernetesModule, type ModuleFiles } from "./go_modules.ts";
import { goFlannel, helm, kubernetes, missingPrograms, type Release } from "./programs.ts";

/** The oldest Go that builds them: [major, minor]. */
const oldestGo = [1, 26] as const;

interface Recipe {
  readonly release: Release;
  /** Makes the module's files. */
  readonly files: () => Promise<ModuleFiles>;
  readonly packageOf: (program: string) => string;
  readonly linkFlags: readonly string[];
  /** Whether it has parts in C. */
  readonly hasC: boolean;
}

/** Modules could not be fetched, as on a machine without their proxy. */
class FetchError extends Error {}

const versionPackage = "k8s.io/component-base/version";

const recipes: readonly Recipe[] = [
  {
    release: kubernetes,
    files: async () => {
      const goMod = await download(`k8s.io/kubernetes@${kubernetes.version}`);
      return kubernetesModule(kubernetes.version, goMod, kubernetes.programs);
    },
    packageOf: (program) => `k8s.io/kubernetes/cmd/${program}`,
    linkFlags: [
      // Without these, clients take it for an unreleased version.
      `-X ${versionPackage}.gitVersion=${kubernetes.version}`,
      ...[`-X ${versionPackage}.gitMajor=1`, `-X ${versionPackage}.gitMinor=34`],
    ],
    hasC: false,
  },
  {
    release: goFlannel,
    files: async () => flannelModule(goFlannel.version),
    packageOf: () => "github.com/flannel-io/flannel",
    linkFlags: [
      `-X github.com/flannel-io/flannel/pkg/version.Version=${goFlannel.version}`,
      // For an image without libraries.
      "-linkmode external -extldflags -static",
    ],
    hasC: true,
  },
  {
    release: helm,
    files: async () => helmModule(helm.version),
    packageOf: () => "helm.sh/helm/v3/cmd/helm",
    linkFlags: [`-X helm.sh/helm/v3/internal/version.version=${helm.version}`],
    hasC: false,
  },
];

try {
  const unfinished = recipes.filter(({ release }) => missingPrograms(release).length > 0);
  const isCheck = process.argv.includes("--check");
  if (unfinished.length > 0) {
    const version = await findGo();
    if (isCheck) print(`Go ${version}`);
  }
  if (!isCheck) {
    for (const recipe of unfinished) await build(recipe);
    for (const { release } of recipes)
      print(`${release.name} ${release.version}: ${release.folder}`);
  }
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = error instanceof FetchError ? 2 : 1;
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

async function build({ release, files, packageOf, linkFlags, hasC }: Recipe): Promise<void> {
  const { name, version, folder, programs } = release;
  mkdirSync(folder, { recursive: true });
  // Of this run alone: another one may build the same.
  const work = mkdtempSync(join(folder, ".work-"));
  try {
    print(
      `${name} ${version}: fetching its modules; all of it takes about six minutes on two processors`,
    );
    const fetching = stopwatch();
    await fetchModules(work, files);
    print(`${name} ${version}: modules fetched (${fetching()})`);
    for (const program of missingPrograms(release)) {
      const number = `${programs.indexOf(program) + 1} of ${programs.length}`;
      print(`${program}: building, ${number}`);
      const building = stopwatch();
      const flags = ["-trimpath", "-ldflags", ["-s -w", ...linkFlags].join(" ")];
      if (hasC) flags.push("-tags", "netgo,osusergo");
      const file = join(work, program);
      await go(["build", ...flags, "-o", file, packageOf(program)], work, hasC);
      const megabytes = (statSync(file).size / 1e6).toFixed(0);
      renameSync(file, join(folder, program));
      print(`${program}: ${megabytes} MB (${building()})`);
    }
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** Writes the module into a folder, and fetches what it needs. @throws FetchError */
async function fetchModules(work: string, files: Recipe["files"]): Promise<void> {
  try {
    for (const [path, text] of Object.entries(await files())) {
      mkdirSync(dirname(join(work, path)), { recursive: true });
      writeFileSync(join(work, path), text);
    }
    await go(["mod", "tidy"], work);
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new FetchError(`Cannot fetch Go modules: ${why}\n  Check GOPROXY (go env GOPROXY).`, {
      cause,
    });
  }
}

/** Downloads a module. Returns its go.mod. */
async function download(module: string): Promise<string> {
  const { GoMod } = JSON.parse(await go(["mod", "download", "-json", module])) as { GoMod: string };
  return readFileSync(GoMod, "utf8");
}

async function go(args: readonly string[], cwd = "/", hasC = false): Promise<string> {
  const env = { CGO_ENABLED: hasC ? "1" : "0", GOFLAGS: "-mod=mod", GOWORK: "off" };
  const { stdout, stderr, failed } = await execa("go", args, { cwd, env, reject: false });
  if (failed) throw new Error(`go ${args.slice(0, 2).join(" ")} failed:\n${stderr}\n${stdout}`);
  return stdout;
}

function stopwatch(): () => string {
  const started = performance.now();
  return () => `${((performance.now() - started) / 1000).toFixed(0)} s`;
}
