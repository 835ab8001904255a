import { main } from "../../plugins/main.ts";
import { sys } from "../../shared/runtime/sys_bun.ts";
import { withFault } from "./faulty_sys.ts";

/** The executable for tests alone, whose kernel refuses the request that FAULT_NETLINK names. */
void main(withFault(sys, sys.env["FAULT_NETLINK"] ?? ""));
