import { sys } from "../shared/runtime/sys_bun.ts";
import { main } from "./main.ts";

/** The entry of the Bun build. */
void main(sys);
