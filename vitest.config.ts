import { resolve } from "node:path";
import { defineConfig } from "vitest/config";

/** The tests that run the executables, once for each build. */
const blackBox = ["netns", "golden", "interop", "fault", "fuzz", "e2e"];

function blackBoxProject(name: string, folder: string) {
  return {
    extends: true as const,
    test: {
      name,
      include: blackBox.map((kind) => `test/${kind}/**/*.test.ts`),
      env: { CNI_BIN: resolve(folder) },
    },
  };
}

export default defineConfig({
  test: {
    // A slow test is one that waits for the kernel, so more run than there are processors.
    maxWorkers: 4,
    testTimeout: 120_000,
    hookTimeout: 60_000,
    projects: [
      { extends: true, test: { name: "unit", include: ["test/unit/**/*.test.ts"] } },
      blackBoxProject("bun", "dist/bin"),
      blackBoxProject("pkg", "dist/pkg"),
    ],
  },
  // The builds define the real one.
  define: { FLANNEL_CNI_VERSION: JSON.stringify("0.0.0-test") },
});
