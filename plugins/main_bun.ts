import { askAgent } from "../shared/agent/client.ts";
import { start } from "./fallback_bun.ts";
import { pluginNames } from "./names.ts";

/**
 * The entry of the Bun build. What fallback_bun.ts imports is evaluated when it is called
 * (scripts/build/bundle.ts): not at all, where an agent carries out the call.
 */
start(askAgent(pluginNames));
