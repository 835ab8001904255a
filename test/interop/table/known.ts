/** The differences that docs/compatibility.md lists, each as "section: first cell of its row". */
import { readFileSync } from "node:fs";

/** Why an error's code is another one. */
export const ERRORS = "All plugins: errors";

export const DOCUMENTED: ReadonlySet<string> = new Set(
  rowsOf(readFileSync(new URL("../../../docs/compatibility.md", import.meta.url), "utf8")),
);

function rowsOf(markdown: string): readonly string[] {
  let section = "";
  const rows: string[] = [];
  for (const line of markdown.split("\n")) {
    if (line.startsWith("## ")) section = line.slice(3);
    const cell = /^\| (.+?) +\|/.exec(line)?.[1];
    if (cell !== undefined && cell !== "what" && !cell.startsWith("---")) {
      rows.push(`${section}: ${cell}`);
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
