import { sys } from "../../../shared/runtime/sys_bun.ts";
import { staticDaemon } from "./static_daemon.ts";

void staticDaemon(sys);
