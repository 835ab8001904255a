import { isJsonObject, parseJson } from "../../../shared/base/json.ts";
import { readIfPresent } from "../../../shared/files/read_file.ts";
import { writeIfOther } from "../../../shared/files/write_if_other.ts";

/**
 * What a node remembers of its lease. The node that knows both owns the lease, even if its address
 * has changed.
 */
export interface LeaseState {
  /** The last part of the lease's key. */
  readonly id: string;
  /** The number of its etcd lease; 0 for a reservation, which has none. */
  readonly lease: bigint;
}

/** Writes the file if it has changed. @throws Failure io */
export function writeLeaseState(path: string, { id, lease }: LeaseState): void {
  writeIfOther(path, `${JSON.stringify({ key: id, lease: lease.toString(16) })}\n`, 0o644);
}

/** @returns undefined if there is none, or it is damaged. */
export function readLeaseState(path: string): LeaseState | undefined {
  let text: string | undefined;
  try {
    text = readIfPresent(path);
  } catch {
    return undefined;
  }
  const state = text === undefined ? undefined : parseJson(text);
  if (!isJsonObject(state)) return undefined;
  const { key, lease } = state;
  if (typeof key !== "string" || typeof lease !== "string") return undefined;
  if (!/^[1-9a-f][\da-f]{0,15}$/.test(lease)) return undefined;
  return { id: key, lease: BigInt(`0x${lease}`) };
}
