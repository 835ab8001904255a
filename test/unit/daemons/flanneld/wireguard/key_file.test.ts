import {
  chmodSync,
  chownSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { keepKeys, keysIn, newKeys } from "../../../../../daemons/flanneld/wireguard/key_file.ts";

let folder = "";
let path = "";
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "wgkey-"));
  path = join(folder, "run/wgkey");
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

function write(text: string, mode = 0o400): void {
  mkdirSync(join(folder, "run"));
  writeFileSync(path, text, { mode });
}

it("derives the public key (RFC 7748 section 5.2, after one iteration)", async () => {
  write(Buffer.from("09".padEnd(64, "0"), "hex").toString("base64"));
  const { publicKey } = await keepKeys(path);
  expect(Buffer.from(publicKey, "base64").toString("hex")).toBe(
    "422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079",
  );
});

it("makes a key once, as flannel writes it, for root alone", async () => {
  const made = await keepKeys(path);
  const text = readFileSync(path, "utf8");
  expect(text).toMatch(/^[A-Za-z0-9+/]{43}=$/);
  expect(statSync(path).mode & 0o777).toBe(0o400);
  expect(readdirSync(join(folder, "run"))).toEqual(["wgkey"]);
  const kept = await keepKeys(path);
  expect(kept.publicKey).toBe(made.publicKey);
  expect(kept.privateKey.isSame(made.privateKey)).toBe(true);
  expect(readFileSync(path, "utf8")).toBe(text);
});

it("keys are not the same twice, and in curve25519's form", async () => {
  const [keys, another] = [await newKeys(), await newKeys()];
  expect(keys.publicKey).not.toBe(another.publicKey);
  const bytes = keys.privateKey.reveal();
  expect((bytes[0] ?? 1) & 0b111).toBe(0);
  expect((bytes[31] ?? 0) & 0b1100_0000).toBe(0b0100_0000);
  expect(JSON.stringify(keys)).not.toContain(Buffer.from(bytes).toString("base64"));
});

it("takes a key with a newline, and from others what they may not read", async () => {
  const { privateKey, publicKey } = await newKeys();
  const text = Buffer.from(privateKey.reveal()).toString("base64");
  write(`${text}\n`);
  chmodSync(path, 0o644);
  expect((await keepKeys(path)).publicKey).toBe(publicKey);
  expect(statSync(path).mode & 0o777).toBe(0o400);
  expect(readFileSync(path, "utf8")).toBe(text);
});

/** Writes a key. @returns its text, and the public one. */
async function writeKey() {
  const { privateKey, publicKey } = await newKeys();
  const text = Buffer.from(privateKey.reveal()).toString("base64");
  write(text);
  return { text, publicKey };
}

it.runIf(process.getuid?.() === 0)("takes a key from an owner who is not root", async () => {
  const { text, publicKey } = await writeKey();
  chownSync(path, 1000, 1000);
  expect((await keepKeys(path)).publicKey).toBe(publicKey);
  expect(statSync(path)).toMatchObject({ uid: 0, gid: 0 });
  expect(readFileSync(path, "utf8")).toBe(text);
});

it.runIf(process.getuid?.() === 0)("follows a link, and leaves what is root's alone", async () => {
  const { publicKey } = await writeKey();
  const link = join(folder, "link");
  symlinkSync(path, link);
  expect((await keepKeys(link)).publicKey).toBe(publicKey);
  expect(lstatSync(link).isSymbolicLink()).toBe(true);
  // A link to what others may read gives way to a file of its own.
  chmodSync(path, 0o644);
  expect((await keepKeys(link)).publicKey).toBe(publicKey);
  expect(lstatSync(link).mode & 0o7777).toBe(0o400);
  expect(lstatSync(link).isFile()).toBe(true);
});

it("says the file of a half-written key, and nothing of it", async () => {
  const { text } = await writeKey();
  chmodSync(path, 0o600);
  for (const length of [1, 22, 43]) {
    writeFileSync(path, text.slice(0, length));
    const problem = await keepKeys(path).catch((error: unknown) => String(error));
    expect(problem).toContain(`Cannot use the private key in ${path}: it must be 32 bytes`);
    if (length > 1) expect(problem).not.toContain(text.slice(0, length));
    expect(readFileSync(path, "utf8")).toBe(text.slice(0, length));
  }
});

it("finds none without making one", async () => {
  expect(await keysIn(path)).toBeUndefined();
  expect(readdirSync(folder)).toEqual([]);
});

it.each(["", "AAAA", "x".repeat(44), "A".repeat(5000)])("refuses what is no key", async (text) => {
  write(text);
  const problem = await keepKeys(path).catch((error: unknown) => String(error));
  expect(problem).toMatch(/^Failure: Cannot (?:use|keep) the private key in .*wgkey: it must be/);
  if (text !== "") expect(problem).not.toContain(text);
});

it("ends where something else is in the file's place", async () => {
  mkdirSync(join(folder, "run"));
  symlinkSync("/nonexistent/key", path);
  await expect(keepKeys(path)).rejects.toThrow("Cannot keep the private key in");
});
