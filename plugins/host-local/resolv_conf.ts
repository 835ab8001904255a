import { CniError, Code } from "../../shared/cni/error.ts";
import type { Dns } from "../../shared/cni/result.ts";
import { readIfPresent, readProblem } from "../../shared/files/read_file.ts";

/**
 * Reads the file that `resolvConf` names.
 * @throws CniError IoFailure if there is none, or it cannot be read.
 */
export function readResolvConf(path: string): Dns {
  let text: string | undefined;
  try {
    text = readIfPresent(path);
  } catch (cause) {
    throw unreadable(path, readProblem(cause), { cause });
  }
  if (text === undefined) throw unreadable(path, "there is no such file");
  return parseResolvConf(text);
}

/**
 * Reads a resolver's configuration (resolv.conf(5)): the last domain, and all of the nameserver,
 * search and options lines.
 */
export function parseResolvConf(text: string): Dns {
  const nameservers: string[] = [];
  const search: string[] = [];
  const options: string[] = [];
  let domain: string | undefined;
  for (const line of text.split("\n")) {
    const [keyword, first, ...more] = line.trim().split(/\s+/);
    if (first === undefined) continue;
    if (keyword === "nameserver") nameservers.push(first);
    if (keyword === "domain") domain = first;
    if (keyword === "search") search.push(first, ...more);
    if (keyword === "options") options.push(first, ...more);
  }
  return {
    ...(nameservers.length > 0 && { nameservers }),
    ...(domain !== undefined && { domain }),
    ...(search.length > 0 && { search }),
    ...(options.length > 0 && { options }),
  };
}

function unreadable(path: string, why: string, options?: ErrorOptions): CniError {
  return new CniError(
    Code.IoFailure,
    `Cannot read ${path} for the result's dns: ${why}.`,
    "Correct ipam.resolvConf in the network config (/etc/cni/net.d), or leave it out.",
    options,
  );
}
