/** Prints what comes of commands that a runtime has started: start.probe.ts MODULE */
import type { LastingSys } from "../../../../shared/runtime/sys.ts";

const [, , module = ""] = process.argv;
const { sys } = (await import(module)) as { readonly sys: LastingSys };
const usual = { input: "", env: process.env, timeout: 20_000, maxOutput: 100_000 };
const began = performance.now();
let turns = 0;
const timer = setInterval(() => {
  turns++;
}, 5);
const outcomes = [
  await sys.start("sh", ["-c", "cat; echo to stderr >&2"], { ...usual, input: "from stdin\n" }),
  // nft 1.0.9 reads no socket.
  await sys.start("sh", ["-c", "[ ! -S /dev/stdin ]"], { ...usual, input: "from stdin\n" }),
  await sys.start("sh", ["-c", "exit 3"], { ...usual, input: "never read\n".repeat(100_000) }),
  await sys.start("sh", ["-c", "echo $FOO"], { ...usual, env: { ...process.env, FOO: "bar" } }),
  await sys.start("no-such-command", [], usual),
  await sys.start("sh", ["-c", "kill -TERM $$"], usual),
  // What it has started is ended with it.
  await sys.start("sh", ["-c", "echo begun; sleep 60 & sleep 60"], { ...usual, timeout: 300 }),
  await sys.start("sh", ["-c", "while :; do echo 0123456789; done"], usual),
].map(({ stdout, ...rest }) => ({ ...rest, stdout: stdout.slice(0, 50) }));
clearInterval(timer);
console.log(
  JSON.stringify({ outcomes, isQuick: performance.now() - began < 20_000, hasTurned: turns > 5 }),
);
