import { readIfPresent } from "../../../shared/files/read_file.ts";

/** CAP_SYS_ADMIN, as a bit of a set of capabilities (linux/capability.h). */
const sysAdmin = 1n << 21n;

/** Whether this process may enter other network namespaces. */
export function mayEnterNamespaces(
  status: string | undefined = readIfPresent("/proc/self/status"),
): boolean {
  const [, effective = "0"] = /^CapEff:\s*([\da-f]+)$/m.exec(status ?? "") ?? [];
  return (BigInt(`0x${effective}`) & sysAdmin) !== 0n;
}
