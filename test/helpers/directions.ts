/** Moves a node from the reference plugins to ours, and back. */
import { binDir, referenceDir } from "./executables.ts";

const ours = binDir();
const reference = referenceDir();

/** Which plugins make the pods, and which take over. */
export const DIRECTIONS = [
  { first: "ours", second: "the reference", bins: [ours, reference] },
  { first: "the reference", second: "ours", bins: [reference, ours] },
] as const;

/** The CNI versions that both support. */
export const COMMON_VERSIONS = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0"] as const;
