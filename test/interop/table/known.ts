/** The differences that docs/compatibility.md lists, each as "section: first cell of its row". */
import { readFileSync } from "node:fs";
import { isReferenceNew } from "../../helpers/executables.ts";

/** Whether the reference is newer than Debian's. */
export const newReference = isReferenceNew();

/** Why an error's code is another one. */
export const ERRORS = "All plugins: errors";

const documented = rowsOf(
  readFileSync(new URL("../../../docs/compatibility.md", import.meta.url), "utf8"),
);

/** Every difference that is documented. */
export const DOCUMENTED: ReadonlySet<string> = new Set(documented.keys());

/** Those where the reference's versions differ from each other: the row names a version. */
export const VARYING: ReadonlySet<string> = new Set(
  [...documented].filter(([, reference]) => /\b1\.\d\.1\b/.test(reference)).map(([why]) => why),
);

/** Why → what the reference does. */
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

/** An address may not be used while it is being looked for; nobody is told where it is. */
const DAD = String.raw`,"(nodad|tentative)":true|^settings pod: .*ndisc_notify.*\n`;

/** What in a text is different for a reason; where none is given, it may be all of it. */
const TRACES: Readonly<Record<string, RegExp>> = {
  "bridge: duplicate address detection": new RegExp(DAD, "gm"),
  "bridge: a second route of IPv6 to a place": new RegExp(
    String.raw`${DAD}|^ip pod: \{"type":"unicast","dst":"default".*\n`,
    "gm",
  ),
  "bridge: the route to a place without a gateway": /"scope":"(link|global)"/g,
  "portmap: `masqAll`": /^iptables: nat -A CNI-DN-.* -j CNI-HOSTPORT-SETMARK\n/gm,
  "portmap: a mapping for a family that the pod has no address of": /^ip6?tables: nat .*\n/gm,
  "portmap: two mappings of one host port": /^iptables: nat -A CNI-.*\n/gm,
};

/** A text without what is different for a reason. */
export function withoutTraces(text: string, why: string): string {
  const trace = TRACES[why];
  return trace === undefined ? "" : `${text}\n`.replaceAll(trace, "");
}
