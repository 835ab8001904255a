import { sys } from "../../shared/runtime/sys_node.ts";
import { staticDaemon } from "./daemon.ts";

void staticDaemon(sys);
