import { isJsonArray, isJsonObject, parseJson } from "../../shared/base/json.ts";
import type { Json } from "../../shared/base/json.ts";
import { printable, quote } from "../../shared/base/text.ts";
import { UsageError } from "../../shared/cli/command.ts";
import { idProblem, ifnameProblem } from "../../shared/cni/request.ts";
import type { Attachment } from "../../shared/cni/request.ts";

/**
 * Lists of valid attachments, as `ps --valid` prints and `gc` reads them: a line CONTAINERID/IFNAME
 * each, in JSON's quotes where a character in it is not printable; or a JSON array as the value of
 * cni.dev/valid-attachments.
 */

/** An entry as a line. */
export function formatEntry({ containerId, ifname }: Attachment): string {
  const line = `${containerId}/${ifname}`;
  return printable(line) === line ? line : JSON.stringify(line);
}

/** Reads a list. @throws UsageError */
export function readValidList(text: string): Attachment[] {
  const value = parseJson(text);
  if (isJsonArray(value)) return value.map(readEntry);
  return text
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "" && !line.startsWith("#"))
    .map((line) => readEntry(line.startsWith('"') ? (parseJson(line) ?? line) : line));
}

/** Reads an entry: a line, or an object. @throws UsageError */
export function readEntry(entry: Json): Attachment {
  const { containerID, ifname } = isJsonObject(entry) ? entry : splitEntry(entry);
  if (
    typeof containerID === "string" &&
    typeof ifname === "string" &&
    ifname !== "" &&
    idProblem(containerID) === undefined &&
    ifnameProblem(ifname) === undefined
  ) {
    return { containerId: containerID, ifname };
  }
  throw new UsageError(
    `an attachment must be CONTAINERID/IFNAME (got ${quote(typeof entry === "string" ? entry : JSON.stringify(entry))})`,
  );
}

function splitEntry(entry: Json): { containerID?: Json; ifname?: Json } {
  if (typeof entry !== "string" || !entry.includes("/")) return {};
  const at = entry.indexOf("/");
  return { containerID: entry.slice(0, at), ifname: entry.slice(at + 1) };
}
