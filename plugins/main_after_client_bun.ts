import { awaitAgent } from "../shared/agent/current_call.ts";
import { removeLink } from "../shared/netlink/removal.ts";
import { closeByOrphan, sendByOrphan } from "../shared/runtime/orphan_bun.ts";
import { sys } from "../shared/runtime/sys_bun.ts";
import { main } from "./main.ts";

/** The entry of the Bun build that begins with the native client: no agent has carried out the call. */
const closeLater = (fd: number): void => {
  if (!closeByOrphan(fd)) sys.closeLater(fd);
};

void main(
  { ...sys, closeLater },
  {
    node: { removeLink: (...removal) => removeLink(sendByOrphan, ...removal) },
    before: awaitAgent,
  },
);
