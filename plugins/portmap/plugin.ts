import { CniError, Code } from "../../shared/cni/error.ts";
import type { Plugin } from "../../shared/cni/plugin.ts";

/** Maps host ports to pods. Not in this release: its name answers VERSION and refuses the rest. */
export const portmap: Plugin<never> = {
  name: "portmap",
  parse: refuse,
  add: refuse,
  del: refuse,
  check: refuse,
  gc: refuse,
  status: refuse,
};

function refuse(): never {
  throw new CniError(
    Code.UnsupportedField,
    "Cannot map host ports: this release of flannel-cni has no portmap.",
    "Keep the reference portmap in /opt/cni/bin, or take portmap out of the conflist.",
  );
}
