import { main } from "../../plugins/main.ts";
import { sys } from "../../shared/runtime/sys_bun.ts";
import { withFault } from "./faulty_sys.ts";
import { withToolFault } from "./faulty_tools.ts";

/**
 * The entry of an executable for tests, whose kernel refuses the request that FAULT_NETLINK names, and
 * whose daemons' tools fail at the run that FAULT_TOOL names.
 */
const { env } = sys;
void main(withToolFault(withFault(sys, env["FAULT_NETLINK"] ?? ""), env["FAULT_TOOL"] ?? ""));
