import { sys } from "../shared/runtime/sys_node.ts";
import { main } from "./main.ts";

/** The entry of the Node build. */
void main(sys);
