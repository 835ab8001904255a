import { awaitAgent } from "../shared/agent/current_call.ts";
import { removeLink } from "../shared/netlink/removal.ts";
import { sendByOrphan } from "../shared/runtime/orphan_bun.ts";
import { sys } from "../shared/runtime/sys_bun.ts";
import { main } from "./main.ts";

/** The entry of the Bun build that begins with the native client: no agent has carried out the call. */
void main(sys, {
  node: { removeLink: (...removal) => removeLink(sendByOrphan, ...removal) },
  before: awaitAgent,
});
