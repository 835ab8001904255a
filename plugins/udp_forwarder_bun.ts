import { Forwarder } from "../daemons/flanneld/udp/forwarder.ts";
import { packetCalls } from "../shared/runtime/packet_calls_bun.ts";
import { sys } from "../shared/runtime/sys_bun.ts";
import { SystemCalls } from "../shared/runtime/system_calls.ts";
import { rawCalls } from "../shared/runtime/system_calls_bun.ts";

/** The entry of the thread that forwards for flanneld's udp backend. */
new Forwarder(sys, new SystemCalls(rawCalls), packetCalls, Number(sys.args[0])).run();
