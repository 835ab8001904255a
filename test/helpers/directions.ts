/** Moves a node from the reference plugins to ours, and back. */
import { binDir, isReferenceNew, referenceDir } from "./executables.ts";
import { VERSIONS } from "./network.ts";

const ours = binDir();
const reference = referenceDir();

/** Which plugins make the pods, and which take over. */
export const DIRECTIONS = [
  { first: "ours", second: "the reference", bins: [ours, reference] },
  { first: "the reference", second: "ours", bins: [reference, ours] },
] as const;

/** The CNI versions that both support. */
export const COMMON_VERSIONS = VERSIONS.filter(
  (version) => version !== "1.1.0" || isReferenceNew(),
);
