/** The differences that docs/compatibility.md lists, each as "section: first cell of its row". */
import { readFileSync } from "node:fs";
import { speaksLatest } from "../../helpers/executables.ts";

/** Whether the reference's results are those of a newer library than Debian's. */
export const newReference = speaksLatest();

/** The reason for different error codes. */
export const ERRORS = "All plugins: errors";

const documented = rowsOf(
  readFileSync(new URL("../../../docs/compatibility.md", import.meta.url), "utf8"),
);

/** Every difference that is documented. */
export const DOCUMENTED: ReadonlySet<string> = new Set(documented.keys());

/** Those in which the reference's versions differ from each other: the row names a version. */
export const VARYING: ReadonlySet<string> = new Set(
  [...documented].filter(([, reference]) => /\b1\.\d\.1\b/.test(reference)).map(([why]) => why),
);

/** Reason → what the reference does. */
function rowsOf(markdown: string): ReadonlyMap<string, string> {
  let section = "";
  const rows = new Map<string, string>();
  for (const line of markdown.split("\n")) {
    if (line.startsWith("## ")) section = line.slice(3);
    const [, cell, reference = ""] = /^\| (.+?) +\| (.*?) \|/.exec(line) ?? [];
    if (cell !== undefined && cell !== "what" && !cell.startsWith("---")) {
      rows.set(`${section}: ${cell}`, reference);
    }
  }
  return rows;
}

/** Flags of addresses and settings of the pod's link that depend on duplicate address detection. */
const DAD = String.raw`,"(nodad|tentative)":true|^settings (pod: .*ndisc_notify|node: .*cni0.*/accept_dad).*\n`;

/** The part of a text that may differ for a reason. For a reason without an entry, all of it may. */
const TRACES: Readonly<Record<string, RegExp>> = {
  "bridge: duplicate address detection": new RegExp(DAD, "gm"),
  "bridge: a second IPv6 route to the same destination": new RegExp(
    String.raw`${DAD}|^ip pod: \{"type":"unicast","dst":"default".*\n`,
    "gm",
  ),
  "bridge: a route without a gateway": /"scope":"(link|global)"/g,
  "portmap: `masqAll`": /^iptables: nat -A CNI-DN-.* -j CNI-HOSTPORT-SETMARK\n/gm,
  "portmap: a mapping for a family that the pod has no address of": /^ip6?tables: nat .*\n/gm,
  "portmap: two mappings of one host port": /^iptables: nat -A CNI-.*\n/gm,
};

/** A text without the part that may differ for a reason. */
export function withoutTraces(text: string, why: string): string {
  const trace = TRACES[why];
  return trace === undefined ? "" : `${text}\n`.replaceAll(trace, "");
}
