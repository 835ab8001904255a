/**
 * Runs the checks, both builds, and all tests on them:
 *
 *   test.ts [--cluster]    --cluster: also those in Kubernetes clusters, where these can be built
 *
 * The last line is `N passed, N failed`: tests, and among the failed ones also checks and builds.
 */
import { mkdirSync, readFileSync, rmSync } from "node:fs";
import { relative } from "node:path";
import { execa } from "execa";
import { checks } from "./main.ts";
import { runSteps } from "./steps.ts";

/** The part of vitest's JSON report that is used. */
interface Report {
  readonly numPassedTests: number;
  readonly numFailedTests: number;
  readonly testResults: readonly {
    readonly name: string;
    readonly status: string;
    readonly message: string;
    readonly assertionResults: readonly {
      readonly status: string;
      readonly fullName: string;
      readonly failureMessages: readonly string[];
    }[];
  }[];
}

/** How many lines of a failure are repeated at the end. */
const linesShown = 20;

const reportFile = "dist/.work/tests.json";

/**
 * One in how many tests of each file runs on the Node build, and with agents in one in how many files; how often
 * pods come and go in a cluster.
 */
const shares = { NODE_SHARE: "28", AGENT_SHARE: "16", CHURN_ROUNDS: "3" };

/** With two processors and nothing in Go's caches, the builds take a quarter of it. */
const buildMinutes = 45;

const projects = ["unit", "bun", "pkg", "agent", "dying-agent"];

interface Counts {
  readonly passed: number;
  readonly failed: number;
  /** What is said again at the end: the output of thousands of tests is seldom read from its start. */
  readonly failures?: readonly string[];
  /** What was not tested, and why. */
  readonly skipped?: string;
}

const failedSteps = await runSteps([
  { name: "builds", command: ["make", "build", "build-pkg"], show: true },
  ...checks,
]);
const withClusters = failedSteps === 0 && process.argv.includes("--cluster");
// Before the other tests: those of the chart need helm, which is built with what clusters need.
const whyNot = withClusters ? await whyNoClusters() : undefined;
const counts = failedSteps > 0 ? [] : [await runTests(projects)];
if (withClusters) counts.push(await runClusterTests(whyNot));
const passed = counts.reduce((sum, count) => sum + count.passed, 0);
const failed = counts.reduce((sum, count) => sum + count.failed, failedSteps);
for (const text of counts.flatMap(({ failures = [] }) => failures)) console.log(`\n${text}`);
for (const { skipped } of counts) if (skipped !== undefined) console.log(skipped);
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed > 0 ? 1 : 0;

/** The tests in clusters, unless there can be none. */
async function runClusterTests(why: string | undefined): Promise<Counts> {
  if (why !== undefined) {
    return { passed: 0, failed: 0, skipped: `clusters were not tested: ${why}` };
  }
  const made = await execa("make", ["image", "ARGS=--level 1"], {
    stdio: "inherit",
    reject: false,
  });
  return made.failed ? { passed: 0, failed: 1 } : runTests(["cluster"]);
}

/**
 * Builds what clusters need, which takes minutes the first time, and tries one that has nothing of ours in it. Returns
 * why there can be none on this machine.
 */
async function whyNoClusters(): Promise<string | undefined> {
  const builder = "scripts/kubernetes/main.ts";
  for (const args of [
    [builder, "--check"],
    [builder, `--minutes=${buildMinutes}`],
    ["test/lab/cluster/trial.ts"],
  ]) {
    const { exitCode, stderr } = await execa(process.execPath, args, {
      ...{ stdin: "ignore", stdout: "inherit", stderr: ["inherit", "pipe"], reject: false },
    });
    if (exitCode !== 0) return stderr;
  }
  return undefined;
}

async function runTests(names: readonly string[]): Promise<Counts> {
  mkdirSync("dist/.work", { recursive: true });
  rmSync(reportFile, { force: true });
  const { exitCode } = await execa(
    process.execPath,
    [
      ...["node_modules/vitest/vitest.mjs", "run"],
      ...["--reporter=default", "--reporter=json", `--outputFile.json=${reportFile}`],
      ...names.map((name) => `--project=${name}`),
    ],
    { stdio: "inherit", reject: false, env: { ...shares, ...process.env } },
  );
  const { numPassedTests, numFailedTests, testResults } = JSON.parse(
    readFileSync(reportFile, "utf8"),
  ) as Report;
  // A file that cannot be loaded has no tests to count.
  const brokenFiles = testResults.filter(
    ({ status, assertionResults }) => status === "failed" && assertionResults.length === 0,
  );
  const counted = numFailedTests + brokenFiles.length;
  return {
    passed: numPassedTests,
    failed: exitCode === 0 ? counted : Math.max(counted, 1),
    failures: testResults.flatMap(failuresOf),
  };
}

/** What failed in a file: its name, the test's, and the beginning of what the test says. */
function failuresOf(file: Report["testResults"][number]): readonly string[] {
  const { status, message, assertionResults } = file;
  const name = relative(process.cwd(), file.name);
  if (status === "failed" && assertionResults.length === 0) return [`${name}: ${message}`];
  return assertionResults
    .filter((test) => test.status === "failed")
    .map(({ fullName, failureMessages }) => {
      const lines = failureMessages.join("\n").split("\n").slice(0, linesShown);
      return `${name}: ${fullName}\n${lines.join("\n")}`;
    });
}
