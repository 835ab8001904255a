/** The identity of a build: all builds of the same sources have the same one, on every machine. */
import { createHash } from "node:crypto";
import { globSync, readFileSync } from "node:fs";
import { buildIdLength } from "../../shared/agent/protocol.ts";

/** @returns {@link buildIdLength} characters, by the content of all that a build is made from. */
export function readBuildId(): string {
  const hash = createHash("sha256");
  const sources = "{plugins,shared,tools,daemons,schemas,scripts/build}/**/*.{ts,json,c}";
  const files = globSync([sources, "package-lock.json"], { exclude: ["schemas/generated/**"] });
  for (const file of files.toSorted()) hash.update(`${file}\0`).update(readFileSync(file));
  return hash.digest("hex").slice(0, buildIdLength);
}
