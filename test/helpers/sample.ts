/** Which rows of a table are tried where not all are. */
import { createHash } from "node:crypto";

/**
 * About one row in `divisor`, and one at least. Each row's name decides, with the table's: another row
 * changes nothing for the rest, and tables with the same rows have different ones tried.
 */
export function sample<Row>(
  table: string,
  rows: readonly Row[],
  nameOf: (row: Row) => string,
  divisor: number,
): readonly Row[] {
  const hashed = rows.map((row) => ({ row, hash: hashOf(`${table}\n${nameOf(row)}`) }));
  const chosen = hashed.filter(({ hash }) => hash % divisor === 0);
  const least = Math.min(...hashed.map(({ hash }) => hash));
  return (chosen.length > 0 ? chosen : hashed.filter(({ hash }) => hash === least)).map(
    ({ row }) => row,
  );
}

function hashOf(text: string): number {
  return createHash("sha256").update(text).digest().readUInt32BE();
}

/** What a test's title says of a row: the properties that it names, or the row itself. */
export function nameIn(title: string, row: unknown): string {
  const keys = [...title.matchAll(/\$(\w+)/g)].map(([, key]) => key ?? "");
  if (keys.length === 0 || typeof row !== "object" || row === null) return JSON.stringify(row);
  return JSON.stringify(keys.map((key) => (row as Readonly<Record<string, unknown>>)[key]));
}
