import { expect, test } from "vitest";
import { lackOf, thisMachine, type Machine } from "../../../../scripts/kubernetes/requirements.ts";

const enough: Machine = {
  isRoot: true,
  processors: 2,
  memoryMib: 4000,
  diskMib: 9000,
  hasKernelLog: true,
  controllers: ["cpuset", "cpu", "io", "memory", "pids"],
};

test("a machine that has enough lacks nothing, and to run it needs less than to build", () => {
  expect(lackOf(enough, true)).toBeUndefined();
  expect(lackOf({ ...enough, memoryMib: 3000, diskMib: 3000 }, false)).toBeUndefined();
});

test.for<[Partial<Machine>, string]>([
  [{ isRoot: false }, "clusters need root"],
  [{ processors: 1 }, "clusters need 2 processors (got 1)"],
  [{ memoryMib: 3999 }, "clusters need 4000 MiB of free memory (got 3999)"],
  [{ diskMib: 8999 }, "clusters need 9000 MiB of free disk space (got 8999)"],
  [{ hasKernelLog: false }, "kubelet needs /dev/kmsg, which cannot be read here"],
  [
    { controllers: ["cpu", "memory"] },
    "kubelet needs the cgroup controllers cpuset, pids, which are not to be had here",
  ],
])("%j is told: %s", ([lack, sentence]) => {
  expect(lackOf({ ...enough, ...lack }, true)).toBe(sentence);
});

test("this machine has room where a folder will be, and memory", () => {
  const { memoryMib, diskMib, processors } = thisMachine(["dist/not/yet", "/"]);
  expect(memoryMib).toBeGreaterThan(10);
  expect(diskMib).toBeGreaterThan(0);
  expect(processors).toBeGreaterThan(0);
});
