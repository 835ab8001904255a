import { main } from "../../plugins/main.ts";
import { sys } from "../../shared/runtime/sys_bun.ts";
import { withFault } from "./faulty_sys.ts";

/** The entry of an executable for tests, whose kernel refuses the request that FAULT_NETLINK names. */
void main(withFault(sys, sys.env["FAULT_NETLINK"] ?? ""));
