import { existsSync, globSync } from "node:fs";
import { resolve } from "node:path";
import { defineConfig } from "vitest/config";
import { agentExceptions } from "./test/helpers/agent_exceptions.ts";
import { sample } from "./test/helpers/sample.ts";
import { Sequencer } from "./test/helpers/sequencer.ts";

/** The tests that run the executables, on each build. */
const blackBox = ["netns", "golden", "interop", "fault", "fuzz", "e2e"];

/** On Node, test/e2e/containerd.test.ts has the image made, and runs it as an init container. */
const imageTests = process.env["SOAK"] === "1" ? [] : ["test/e2e/image.test.ts"];

/**
 * On Node, flanneld is the same but for waiting for the kernel, TLS and gRPC: these files have enough of
 * that. FLANNELD_ON_PKG=1 runs all.
 */
const flanneldOnNode = [
  ...["mk_docker_opts", "backends", "connectivity", "drift", "kube_leases", "etcd_security"],
].join("|");
const flanneldTests =
  process.env["FLANNELD_ON_PKG"] === "1"
    ? []
    : [`test/netns/flanneld/!(${flanneldOnNode}).test.ts`, "test/fault/flanneld*.test.ts"];

function blackBoxProject(
  name: string,
  folder: string,
  more: { exclude?: string[]; setupFiles?: string[]; env?: Record<string, string> } = {},
) {
  return {
    extends: true as const,
    test: {
      ...more,
      name,
      include: blackBox.map((kind) => `test/${kind}/**/*.test.ts`),
      env: { CNI_BIN: resolve(folder), ...more.env },
    },
  };
}

/** One in how many files has one in how many tests run with agents. */
const agentShare = Number(process.env["AGENT_SHARE"] ?? 1);

/** The proof that the calls are made by agents. */
const throughAgent = "test/netns/through_agent.test.ts";

/** Agents' lives are random. `AGENT_SEED=N` repeats those of a run. */
const agentSeed = process.env["AGENT_SEED"] ?? String(Date.now() % 1_000_000);

/** The black-box tests with an agent in each sandbox. */
function agentProject(name: string, way: "steady" | "dying", folder: string) {
  const project = blackBoxProject(name, existsSync(folder) ? folder : "dist/bin", {
    setupFiles: ["test/helpers/agent_share.ts"],
  });
  const exclude = agentExceptions.flatMap(({ file, name: test, onlyDying }) =>
    test === undefined && (onlyDying !== true || way === "dying") ? [`test/${file}`] : [],
  );
  const files = project.test.include.flatMap((pattern) => globSync(pattern, { exclude }));
  return {
    ...project,
    test: {
      ...project.test,
      include: [...sample(name, files, (file) => file, agentShare), throughAgent],
      env: { ...project.test.env, AGENT_WAY: way, AGENT_SEED: agentSeed },
      globalSetup: ["test/helpers/agent_calls.ts"],
    },
  };
}

export default defineConfig({
  test: {
    // Slow tests wait for the kernel, so more of them run than there are processors.
    maxWorkers: 4,
    // No test changes what another one imports. Without isolation the unit tests take half the CPU time.
    isolate: false,
    sequence: { sequencer: Sequencer },
    // A failure says all of what it got, also in the report.
    chaiConfig: { truncateThreshold: 0 },
    testTimeout: 120_000,
    hookTimeout: 60_000,
    projects: [
      { extends: true, test: { name: "unit", include: ["test/unit/**/*.test.ts"] } },
      {
        extends: true,
        test: {
          name: "cluster",
          include: ["test/cluster/**/*.test.ts"],
          // The processors are few, and each file has a cluster of its own.
          fileParallelism: false,
          testTimeout: 300_000,
          hookTimeout: 300_000,
          env: { CNI_BIN: resolve("dist/bin") },
        },
      },
      blackBoxProject("bun", "dist/bin"),
      blackBoxProject("pkg", "dist/pkg", {
        exclude: [...imageTests, ...flanneldTests],
        setupFiles: ["test/helpers/node_share.ts"],
        // The calls are Node's own, as in a build without a C compiler.
        env: { FLANNEL_CNI_ENGINE: "off" },
      }),
      // What this kernel may lack. CNI_BIN=dist/pkg tries the other build, whose starts are slow there.
      {
        extends: true,
        test: {
          name: "vm",
          include: ["test/vm/**/*.test.ts"],
          env: { CNI_BIN: resolve(process.env["CNI_BIN"] ?? "dist/bin") },
        },
      },
      agentProject("agent", "steady", process.env["AGENT_CLIENT"] ?? "dist/bin"),
      // By the native client, where there is one.
      agentProject("dying-agent", "dying", process.env["AGENT_CLIENT"] ?? "dist/client/bin"),
    ],
  },
  // The builds define the real one.
  define: {
    FLANNEL_CNI_VERSION: JSON.stringify("0.0.0-test"),
    FLANNEL_CNI_NATIVE_CLIENT: JSON.stringify(""),
    FLANNEL_CNI_BUILD_ID: JSON.stringify("0".repeat(32)),
  },
});
