/** Files are installed in one step each, and a run that stops anywhere can be undone or done again. */
import {
  chmodSync,
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { sys } from "../../../../shared/runtime/sys_node.ts";
import { digestOf } from "../../../../tools/install-cni/atomic_file.ts";
import { manifestName } from "../../../../tools/install-cni/manifest.ts";
import { installedFiles, Transaction } from "../../../../tools/install-cni/transaction.ts";
import type { WantedFile } from "../../../../tools/install-cni/transaction.ts";

let folder = "";
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "transaction-"));
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

const wanted = (name: string, content: string, mode = 0o755): WantedFile => {
  return { name, content, digest: digestOf(content), mode, isSeparate: false };
};
const files = [wanted("bridge", "new"), wanted("flannel", "new")];
const warnings: string[] = [];
const warn = (line: string): void => void warnings.push(line);

function install(all: readonly WantedFile[] = files): string[] {
  using transaction = new Transaction(sys, folder, warn);
  const swept = transaction.sweep();
  const unchanged = transaction.stage(all);
  transaction.recordIntent();
  const changed = transaction.commit();
  transaction.recordResult();
  return [...swept, ...changed, ...unchanged].map(({ what, path }) => `${what} ${nameOf(path)}`);
}

function uninstall(): string[] {
  using transaction = new Transaction(sys, folder, warn);
  return transaction.uninstall().map(({ what, path }) => `${what} ${nameOf(path)}`);
}

function nameOf(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1).replace(/-[0-9a-f]{8}\.tmp/, "-*.tmp");
}

const read = (name: string): string => readFileSync(join(folder, name), "utf8");

describe("install", () => {
  it("writes each file, and the second time nothing", () => {
    expect(installedFiles(sys, folder, files)).toBeUndefined();
    expect(install()).toEqual(["installed bridge", "installed flannel"]);
    expect(readdirSync(folder).toSorted()).toEqual([manifestName, "bridge", "flannel"]);
    expect(statSync(join(folder, "bridge"))).toMatchObject({ nlink: 2 });
    expect(statSync(join(folder, "bridge")).mode & 0o777).toBe(0o755);
    expect(installedFiles(sys, folder, files)).toHaveLength(2);
    expect(install()).toEqual(["unchanged bridge", "unchanged flannel"]);
    expect(warnings).toEqual([]);
  });

  it("makes no link of a file that is to be separate, also where there is one already", () => {
    const separate = files.map((file) => ({ ...file, isSeparate: true }));
    install(separate);
    expect(statSync(join(folder, "bridge")).nlink).toBe(1);
    linkSync(join(folder, "bridge"), join(folder, "other"));
    expect(installedFiles(sys, folder, separate)).toBeUndefined();
    expect(install(separate)).toEqual(["replaced bridge", "unchanged flannel"]);
    expect(statSync(join(folder, "bridge")).nlink).toBe(1);
  });

  it("keeps modes, but makes executable what has to be", () => {
    install();
    chmodSync(join(folder, "bridge"), 0o700);
    install([wanted("bridge", "newer"), wanted("flannel", "newer")]);
    expect(statSync(join(folder, "bridge")).mode & 0o777).toBe(0o700);
    chmodSync(join(folder, "bridge"), 0o644);
    expect(install([wanted("bridge", "newer")])).toEqual(["replaced bridge"]);
    expect(statSync(join(folder, "bridge")).mode & 0o777).toBe(0o755);
  });

  it("says that a folder is in a file's place", () => {
    mkdirSync(join(folder, "bridge"));
    expect(() => install()).toThrow(`Cannot install ${folder}/bridge: it is a folder.`);
    expect(readdirSync(folder)).toEqual(["bridge"]);
  });

  it("removes what a killed run has left, and no folder of that name", () => {
    writeFileSync(join(folder, ".flannel-cni-01234567.tmp"), "half");
    mkdirSync(join(folder, ".flannel-cni-89abcdef.tmp"));
    expect(installedFiles(sys, folder, files)).toBeUndefined();
    expect(install()[0]).toBe("removed .flannel-cni-*.tmp");
    expect(readdirSync(folder)).toContain(".flannel-cni-89abcdef.tmp");
    expect(existsSync(join(folder, ".flannel-cni-01234567.tmp"))).toBe(false);
  });

  it("leaves nothing of what is staged and not committed", () => {
    {
      using transaction = new Transaction(sys, folder, warn);
      transaction.stage(files);
      expect(readdirSync(folder)).toHaveLength(3);
    }
    expect(readdirSync(folder)).toEqual([]);
  });

  it("can be undone when it stopped before, between and after the renames", () => {
    install([wanted("bridge", "old"), wanted("flannel", "old")]);
    {
      using transaction = new Transaction(sys, folder, warn);
      transaction.stage(files);
      transaction.recordIntent();
    }
    expect(read("bridge")).toBe("old");
    expect(read(manifestName).split("\n")).toHaveLength(5);
    writeFileSync(join(folder, "bridge.new"), "new");
    rmSync(join(folder, "bridge"));
    writeFileSync(join(folder, "bridge"), "new");
    rmSync(join(folder, "bridge.new"));
    expect(uninstall()).toEqual(["removed bridge", "removed flannel"]);
    expect(readdirSync(folder)).toEqual([]);
  });
});

describe("uninstall", () => {
  it("leaves what somebody has changed or added", () => {
    install([wanted("bridge", "a"), wanted("flannel", "b"), wanted("portmap", "c")]);
    rmSync(join(folder, "bridge"));
    writeFileSync(join(folder, "bridge"), "mine");
    writeFileSync(join(folder, "tuning"), "mine");
    rmSync(join(folder, "portmap"));
    expect(uninstall().toSorted()).toEqual(["gone portmap", "left bridge", "removed flannel"]);
    expect(readdirSync(folder).toSorted()).toEqual(["bridge", "tuning"]);
  });
});

describe("the lock", () => {
  it("is a file that only its owner can open, and goes with the run", () => {
    const path = join(folder, ".flannel-cni.lock");
    {
      using transaction = new Transaction(sys, folder, warn);
      expect(statSync(path).mode & 0o777).toBe(0o600);
      expect(transaction.sweep()).toEqual([]);
    }
    expect(existsSync(path)).toBe(false);
  });

  it("left by a killed run is taken over, and removed", () => {
    const path = join(folder, ".flannel-cni.lock");
    install();
    writeFileSync(path, "", { mode: 0o644 });
    expect(installedFiles(sys, folder, files), "a run may be at work").toBeUndefined();
    install();
    expect(existsSync(path)).toBe(false);
  });

  it("is refused where it is no file", () => {
    mkdirSync(join(folder, ".flannel-cni.lock"));
    expect(() => install()).not.toThrow();
    expect(warnings.pop()).toContain("Let no other install-cni run at the same time.");
  });
});
