import { sys } from "../../../shared/runtime/sys_node.ts";
import { staticDaemon } from "./static_daemon.ts";

void staticDaemon(sys);
