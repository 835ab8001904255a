/** What a black-box test needs to run plugins in a sandbox. */
export {
  cni,
  cniOk,
  type CniAnswer,
  type CniCall,
  type CniJson,
  type Conf,
} from "../lab/cni.ts";
export { runConflist, type Conflist } from "../lab/conflist.ts";
export type { Sandbox } from "../lab/sandbox.ts";
export type { Namespace } from "../lab/namespace.ts";
export { leftovers } from "../lab/leftovers.ts";
export { createSandbox } from "./agent_way.ts";
export { binDir, referenceDir } from "./executables.ts";
