import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, closeSync, mkdtempSync, openSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";

import { takeMemberLock, tryMember } from "../../../../shared/files/member_lock.ts";
import { sys } from "../../../../shared/runtime/sys_node.ts";

function lockFile(): string {
  const folder = mkdtempSync(join(tmpdir(), "member-lock-"));
  onTestFinished(() => {
    rmSync(folder, { recursive: true });
  });
  return join(folder, "a.lock");
}

const busy: object = expect.objectContaining({ kind: "busy" });
const take = (path: string, member: number | "all", timeout = 30) =>
  takeMemberLock(sys, path, member, timeout);

test("different members are locked at once, the same one is not", () => {
  const path = lockFile();
  const first = take(path, 7);
  const second = take(path, 0xffff_ffff);
  expect(() => take(path, 7)).toThrow(busy);
  first.release();
  take(path, 7).release();
  second.release();
});

test("all members are locked by nobody else's leave", () => {
  const path = lockFile();
  const lock = take(path, 0);
  expect(() => take(path, "all")).toThrow(busy);
  lock.release();
  const all = take(path, "all");
  expect(() => take(path, 0)).toThrow(busy);
  expect(() => take(path, "all")).toThrow(busy);
  all.release();
  take(path, 0).release();
});

test("a member of an open file is locked without waiting, shared or alone", () => {
  const path = lockFile();
  take(path, 0).release();
  const [a, b] = [openSync(path, "r+"), openSync(path, "r+")];
  onTestFinished(() => {
    closeSync(a);
    closeSync(b);
  });
  const set = (fd: number, member: number | "all", kind: "read" | "write" | "none") =>
    tryMember(sys, fd, path, member, kind);
  expect([set(a, 7, "read"), set(b, 7, "read"), set(b, 7, "write")]).toEqual([true, true, false]);
  expect([set(a, "all", "none"), set(b, 7, "write"), set(a, 8, "write")]).toEqual([
    true,
    true,
    true,
  ]);
  expect([set(a, 7, "read"), set(a, "all", "write")]).toEqual([false, false]);
  set(b, "all", "none");
  expect(set(a, "all", "write")).toBe(true);
});

test("its file is for its owner alone", () => {
  const path = lockFile();
  take(path, 1).release();
  chmodSync(path, 0o666);
  take(path, 1).release();
  expect(statSync(path).mode & 0o777).toBe(0o600);
  expect(statSync(path).size).toBe(0);
});

test("a child that inherits it holds it until it ends", async () => {
  const path = lockFile();
  const lock = take(path, 3);
  const child = spawn("sleep", ["60"], { stdio: ["ignore", "ignore", "ignore", lock.fd ?? -1] });
  lock.release();
  expect(() => take(path, 3)).toThrow(busy);
  expect(() => take(path, "all")).toThrow(busy);
  take(path, 4).release();
  child.kill("SIGKILL");
  await once(child, "exit");
  take(path, "all").release();
});

test("a tool that is run inherits what it is told to", () => {
  const path = lockFile();
  const lock = take(path, 3);
  const options = { input: "", env: process.env, timeout: 5000, maxOutput: 1000 };
  const list = ["-c", "readlink /proc/self/fd/3"];
  expect(sys.run("sh", list, { ...options, inherit: [lock.fd ?? -1] }).stdout.trim()).toBe(path);
  expect(sys.run("sh", list, options).stdout.trim()).not.toBe(path);
  lock.release();
});
