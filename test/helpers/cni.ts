/** All that a black-box test needs to run plugins in a sandbox. */
export {
  cni,
  cniOk,
  type CniAnswer,
  type CniCall,
  type CniJson,
  type Conf,
} from "../../scripts/lib/cni.ts";
export { runConflist, type Conflist } from "../../scripts/lib/conflist.ts";
export { createSandbox, type Sandbox } from "../../scripts/lib/sandbox.ts";
export type { Namespace } from "../../scripts/lib/namespace.ts";
export { leftovers } from "../../scripts/lib/leftovers.ts";
export { binDir, referenceDir } from "./executables.ts";
