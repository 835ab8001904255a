import { sys } from "../../shared/runtime/sys_bun.ts";
import { staticDaemon } from "./daemon.ts";

void staticDaemon(sys);
