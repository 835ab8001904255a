import { sys } from "../../shared/runtime/sys_node.ts";
import { withFault } from "../fault/faulty_sys.ts";
import { staticDaemon } from "./daemon.ts";

void staticDaemon(withFault(sys, sys.env["FAULT_NETLINK"] ?? ""));
