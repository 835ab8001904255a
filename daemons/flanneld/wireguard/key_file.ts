import { statSync } from "node:fs";
import { Failure } from "../../../shared/base/failure.ts";
import { Secret } from "../../../shared/base/secret.ts";
import { createFile, ensureFolderOf, replaceFile } from "../../../shared/files/files.ts";
import { readIfPresent, readProblem } from "../../../shared/files/read_file.ts";
import { keyBytes } from "../../../shared/netlink/wireguard.ts";
import type { WireguardKeys } from "../backends/backend.ts";
import { readKey } from "../backends/wireguard.ts";

/** Only root may read the file, and nothing need write it again. */
const fileMode = 0o400;
/** Bytes that the file may have: the key in base64, and space after it. */
const maxBytes = 4096;
/** What is before an X25519 private key in PKCS #8 (RFC 8410). */
const pkcs8 = Buffer.from("302e020100300506032b656e04220420", "hex");

/**
 * This node's keys, which its peers know it by, so that they stay as long as the file does. A file that
 * is not there is made.
 * @throws Failure invalid, io
 */
export async function keepKeys(path: string, tries = 2): Promise<WireguardKeys> {
  try {
    const kept = await keysIn(path);
    if (kept !== undefined) {
      // The Go program's file may have been copied.
      if (isOthersToRead(path)) replaceFile(path, textOf(kept), fileMode);
      return kept;
    }
    const made = await newKeys();
    ensureFolderOf(path);
    if (createFile(path, textOf(made), fileMode)) return made;
    if (tries === 1) throw new Error("it must be a file, or not there");
  } catch (error) {
    if (error instanceof Failure) throw error;
    throw new Failure(
      "io",
      `Cannot keep the private key in ${path}: ${readProblem(error)}.`,
      "Let flanneld read and write there, or set WIREGUARD_KEY_FILE to another path.",
      { cause: error },
    );
  }
  // Another flanneld has been faster.
  return keepKeys(path, tries - 1);
}

/** Its owner may read a file whatever its mode says. */
function isOthersToRead(path: string): boolean {
  const { mode, uid } = statSync(path);
  return (mode & 0o077) !== 0 || uid !== 0;
}

/** The keys in a file; undefined if there is none. @throws Failure invalid */
export async function keysIn(path: string): Promise<WireguardKeys | undefined> {
  const text = readIfPresent(path, { maxBytes });
  if (text === undefined) return undefined;
  const bytes = readKey(text.trim());
  if (bytes !== undefined) return keysOf(bytes);
  // What the file has may be most of a key, so no message says it.
  throw new Failure(
    "invalid",
    `Cannot use the private key in ${path}: it must be 32 bytes in base64.`,
    "Remove the file, and flanneld makes a new key.",
  );
}

/** Keys that no file has. */
export async function newKeys(): Promise<WireguardKeys> {
  const bytes = crypto.getRandomValues(Buffer.alloc(keyBytes));
  // As curve25519 has it (RFC 7748 section 5), and as flannel writes keys.
  bytes[0] = (bytes[0] ?? 0) & 0b1111_1000;
  bytes[31] = ((bytes[31] ?? 0) & 0b0111_1111) | 0b0100_0000;
  return keysOf(bytes);
}

async function keysOf(bytes: Uint8Array): Promise<WireguardKeys> {
  // Only this backend needs it.
  const { createPrivateKey, createPublicKey } = await import("node:crypto");
  const der = { key: Buffer.concat([pkcs8, bytes]), format: "der", type: "pkcs8" } as const;
  const spki = createPublicKey(createPrivateKey(der)).export({ format: "der", type: "spki" });
  const publicKey = spki.subarray(-keyBytes).toString("base64");
  return { privateKey: new Secret(bytes), publicKey };
}

function textOf({ privateKey }: WireguardKeys): string {
  return Buffer.from(privateKey.reveal()).toString("base64");
}
