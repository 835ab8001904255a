import { sys } from "../shared/kernel/sys_bun.ts";
import { main } from "./main.ts";

/** The entry of the Bun build. */
void main(sys);
