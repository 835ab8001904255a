/** Locks, also where another user has put something in a lock's place. Some tests need root. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import {
  chmodSync,
  chownSync,
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execaSync } from "execa";
import { beforeEach, describe, expect, onTestFinished, test, vi } from "vitest";

import { takeLock, takeNamedLock, takeTransientLock } from "../../../../shared/files/lock.ts";
import type { Lock } from "../../../../shared/files/lock.ts";
import type { LockKind } from "../../../../shared/files/lock_wait.ts";
import { sys } from "../../../../shared/runtime/sys_node.ts";

const isRoot = process.geteuid?.() === 0;
const nobody = 65_534;

let folder = "";
let path = "";
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "lock-"));
  path = join(folder, "lock");
  return () => {
    rmSync(folder, { recursive: true });
  };
});

function permissions(file: string): string {
  return (statSync(file).mode & 0o7777).toString(8);
}

/** Whether the lock is free, as a program sees it that does not wait. */
function isFree(file: string): boolean {
  return execaSync("flock", ["-n", file, "true"], { reject: false }).exitCode === 0;
}

/** Locks a file from another process, for some seconds or until the test ends. */
async function hold(file: string, seconds = 60): Promise<void> {
  const holder = spawn("flock", [file, "sleep", String(seconds)], { detached: true });
  onTestFinished(() => {
    if (holder.exitCode === null) process.kill(-(holder.pid ?? 0));
  });
  await vi.waitFor(() => {
    expect(isFree(file)).toBe(false);
  });
}

function refused(kind: string, message: RegExp): unknown {
  return expect.objectContaining({
    kind,
    message: expect.stringMatching(message),
    advice: expect.stringMatching(/^[A-Z].*\.$/),
  });
}

/** The failure for what is in a lock's place. */
function noFile(file: string, kind: string): unknown {
  return expect.objectContaining({
    kind: /FIFO|device/.test(kind) ? "conflict" : "io",
    message: `Cannot open the lock ${file}: it must be a regular file (got ${kind}).`,
    advice: `Find out who made it, and remove it: rm -r ${file}.`,
  });
}

/** Takes a lock by its name, in this test's folder. */
function named(name: string, kind?: LockKind): Lock {
  return takeNamedLock(sys, name, 0, kind, join(folder, "run", "locks"));
}

describe("a lock", () => {
  test("is held until it is released, and leaves no descriptor", () => {
    const before = readdirSync("/proc/self/fd").length;
    const lock = takeLock(sys, path, 0);
    expect(isFree(path)).toBe(false);
    expect(() => takeLock(sys, path, 0)).toThrow(refused("busy", /^Cannot lock/));
    lock.release();
    expect(isFree(path)).toBe(true);
    takeLock(sys, path, 0).release();
    expect(readdirSync("/proc/self/fd")).toHaveLength(before);
  });

  test("of somebody else is waited for, and then named", async () => {
    await hold(path);
    const start = performance.now();
    expect(() => takeLock(sys, path, 300)).toThrow(
      refused("busy", /process \d+ \((flock|sleep)\) has held it for 0\.3 seconds/),
    );
    expect(performance.now() - start).toBeGreaterThan(299);
  });

  test("that others have in turn is waited for longer", async () => {
    // Those who share it leave no moment between them, for some seconds.
    const share = 'for n in 1 2 3 4 5 6 7 8; do flock -s "$0" sleep 0.6; done';
    const script = `${share} & sleep 0.2; ${share} & sleep 0.2; ${share}`;
    const holders = spawn("sh", ["-c", script, path], { detached: true });
    onTestFinished(() => {
      if (holders.exitCode === null) process.kill(-(holders.pid ?? 0));
    });
    await vi.waitFor(() => {
      expect(isFree(path)).toBe(false);
    });
    const start = performance.now();
    takeLock(sys, path, 2000).release();
    expect(performance.now() - start).toBeGreaterThan(2500);
  });

  test("that is freed just when the wait is over is taken", () => {
    const locked = takeLock(sys, path, 0);
    let waits = 0;
    const late: typeof sys = {
      ...sys,
      flockWithin: (...args) => {
        const answer = sys.flockWithin(...args);
        if (++waits === 2) locked.release();
        return answer;
      },
    };
    takeLock(late, path, 2000).release();
    expect(waits).toBe(2);
  });

  test("that one process keeps is not waited for longer", async () => {
    await hold(path);
    const start = performance.now();
    expect(() => takeLock(sys, path, 2000)).toThrow(
      refused("busy", /process \d+ \((flock|sleep)\) has held it for 2 seconds/),
    );
    expect(performance.now() - start).toBeLessThan(10_000);
  });

  test("is got as soon as its holder ends", async () => {
    await hold(path, 1);
    const lock = takeLock(sys, path, 10_000);
    expect(isFree(path)).toBe(false);
    lock.release();
  });
});

describe("a lock's file", () => {
  test("is made for its owner alone, whatever the umask", () => {
    const umask = process.umask(0);
    onTestFinished(() => {
      process.umask(umask);
    });
    takeLock(sys, path, 0).release();
    expect(permissions(path)).toBe("600");
  });

  test.for([0o750, 0o644, 0o666, 0o604])("of mode %o becomes such a one", (mode) => {
    writeFileSync(path, "");
    chmodSync(path, mode);
    takeLock(sys, path, 0).release();
    expect(permissions(path)).toBe("600");
  });

  test("is not followed elsewhere", () => {
    const elsewhere = join(folder, "elsewhere");
    symlinkSync(elsewhere, path);
    expect(() => takeLock(sys, path, 0)).toThrow(noFile(path, "a symbolic link"));
    expect(existsSync(elsewhere)).toBe(false);
  });

  test.for([
    ["mkdir $LOCK", "a folder"],
    ["mkfifo $LOCK", "a FIFO"],
    ["ln -s /dev/null $LOCK", "a symbolic link"],
    ["ln -s $LOCK $LOCK", "a symbolic link"],
  ] as const)("made by %s is refused without waiting", ([put, kind]) => {
    execaSync("sh", ["-c", put], { env: { LOCK: path } });
    const before = readdirSync("/proc/self/fd").length;
    expect(() => takeLock(sys, path, 0)).toThrow(noFile(path, kind));
    expect(() => takeTransientLock(sys, path, 0)).toThrow(noFile(path, kind));
    expect(readdirSync("/proc/self/fd")).toHaveLength(before);
  });

  test("that is a socket is refused", async () => {
    const server = createServer().listen(path);
    await once(server, "listening");
    onTestFinished(() => {
      server.close();
    });
    expect(() => takeLock(sys, path, 0)).toThrow(noFile(path, "a socket"));
  });

  test("that is a device is left as it is", () => {
    expect(() => takeLock(sys, "/dev/null", 0)).toThrow(noFile("/dev/null", "a character device"));
    expect(permissions("/dev/null")).toBe("666");
  });

  test("has nothing but folders above it", () => {
    writeFileSync(path, "");
    for (const take of [
      () => takeLock(sys, `${path}/lock`, 0),
      () => takeNamedLock(sys, "a", 0, "exclusive", path),
      () => takeNamedLock(sys, "a", 0, "exclusive", `${path}/locks`),
    ]) {
      expect(take).toThrow(refused("io", /must be folders/));
    }
  });

  test.runIf(isRoot)("that is another user's is refused, and left as it is", () => {
    writeFileSync(path, "");
    chmodSync(path, 0o666);
    chownSync(path, nobody, nobody);
    const before = readdirSync("/proc/self/fd").length;
    expect(() => takeLock(sys, path, 0)).toThrow(refused("conflict", /must be root's.*65534/));
    expect(permissions(path)).toBe("666");
    expect(readdirSync("/proc/self/fd")).toHaveLength(before);
  });

  test.runIf(isRoot)("cannot be locked by a user, from its first instant on", () => {
    chmodSync(folder, 0o755);
    takeLock(sys, path, 0).release();
    const user = { uid: nobody, gid: nobody, reject: false } as const;
    for (const kind of ["-s", "-x"]) {
      expect(execaSync("flock", [kind, "-n", path, "true"], user).exitCode).not.toBe(0);
    }
    expect(isFree(path)).toBe(true);
  });
});

describe("a lock of that name", () => {
  test("is one that no user gets near", () => {
    chmodSync(folder, 0o755);
    const lock = named("bridge cni0");
    expect(permissions(join(folder, "run", "locks"))).toBe("700");
    expect(permissions(join(folder, "run", "locks", "bridge-cni0.lock"))).toBe("600");
    expect(() => named("bridge cni0")).toThrow(refused("busy", /bridge-cni0/));
    named("bridge cni1").release();
    lock.release();
    named("bridge cni0").release();
  });

  test("is shared by those who ask for that, unless somebody waits to have it alone", async () => {
    const locks = join(folder, "run", "locks");
    const shared = [named("a", "shared"), named("a", "shared")];
    expect(() => named("a")).toThrow(refused("busy", /a\.lock/));
    // Whoever waits has the turn.
    await hold(join(locks, "a.turn"));
    expect(() => named("a", "shared")).toThrow(refused("busy", /a\.turn/));
    for (const lock of shared) lock.release();
    expect(isFree(join(locks, "a.lock"))).toBe(true);
  });

  test("may have any name", () => {
    for (const name of [
      "install /opt/cni/bin",
      "x".repeat(300),
      "..",
      "\u{1F98A}".repeat(50),
      "\ud800",
    ]) {
      named(name).release();
    }
    // A lock and its turn.
    expect(readdirSync(join(folder, "run", "locks"))).toHaveLength(10);
  });

  test("closes a folder that was open to others", () => {
    mkdirSync(join(folder, "run", "locks"), { recursive: true });
    chmodSync(join(folder, "run", "locks"), 0o777);
    named("a").release();
    expect(permissions(join(folder, "run", "locks"))).toBe("700");
  });

  test("is refused where its folder is a link, a file or another user's", () => {
    const run = join(folder, "run");
    const locks = join(run, "locks");
    mkdirSync(run);
    symlinkSync(folder, locks);
    expect(() => named("a")).toThrow(refused("conflict", /must be a folder/));
    rmSync(locks);
    writeFileSync(locks, "");
    expect(() => named("a")).toThrow(refused("io", /must be folders/));
    rmSync(locks);
    if (!isRoot) return;
    mkdirSync(locks);
    chownSync(locks, nobody, nobody);
    expect(() => named("a")).toThrow(refused("conflict", /must be root's/));
  });
});

test("a hard link to a lock is the same lock", () => {
  const lock = takeLock(sys, path, 0);
  linkSync(path, `${path}2`);
  expect(() => takeLock(sys, `${path}2`, 0)).toThrow(refused("busy", /lock2/));
  lock.release();
});
