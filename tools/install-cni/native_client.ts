import type { Content } from "../../shared/files/files.ts";

/** Set at build time: the agent's native client, by gzip and in base64, or "" if the build has none. */
declare const FLANNEL_CNI_NATIVE_CLIENT: string;

/** The native client, if the build has it. */
export function nativeClient(): Content | undefined {
  if (FLANNEL_CNI_NATIVE_CLIENT === "") return undefined;
  // Not loaded at the start of every tool.
  const { gunzipSync } = process.getBuiltinModule("node:zlib");
  const bytes = gunzipSync(Buffer.from(FLANNEL_CNI_NATIVE_CLIENT, "base64"));
  return (take) => {
    take(bytes);
  };
}
