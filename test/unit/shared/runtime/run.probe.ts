/** Runs commands that write a few bytes at a time, and prints what came of each. */
import type { Sys } from "../../../../shared/runtime/sys.ts";

const { sys } = (await import(process.argv[2] ?? "")) as { readonly sys: Sys };
const run = (script: string, maxOutput = 1000) =>
  sys.run("sh", ["-c", script], {
    ...{ input: "in", env: { PATH: process.env["PATH"] }, timeout: 5000, maxOutput },
    writesInPieces: true,
  });
const results = [
  run("for word in a b c; do printf $word; done; cat; echo no >&2"),
  run("printf 1234", 3),
  run("printf 1234; exit 7", 4),
  run("kill -9 $$"),
  // nft 1.0.9 reads no socket.
  run("[ ! -S /dev/stdin ]; echo $?; cat"),
  sys.run("/none", [], { input: "", env: {}, timeout: 5000, maxOutput: 10, writesInPieces: true }),
];
console.log(JSON.stringify(results));
