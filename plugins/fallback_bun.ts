import { awaitAgent } from "../shared/agent/current_call.ts";
import type { Remainder } from "../shared/agent/client.ts";
import { sysAfter } from "../shared/runtime/sys_bun.ts";
import { main } from "./main.ts";

/** Does what an agent has not. */
export function start({ args, stdin }: Remainder): void {
  void main(sysAfter(args, stdin), { before: awaitAgent });
}
