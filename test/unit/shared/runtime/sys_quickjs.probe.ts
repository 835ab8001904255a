/** What commands come to, in the engine that runs them: `results` of globalThis. */
import { hostRegisters } from "../../../../shared/runtime/globals_quickjs.ts";
import { closeSync, openSync } from "node:fs";
import type { RunOptions } from "../../../../shared/runtime/sys.ts";
import { sysOf } from "../../../../shared/runtime/sys_quickjs.ts";

const PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const sys = sysOf("bridge", ["A=1=2", "A=3", "=none", "PLAIN", "__proto__=own"]);
const usual: RunOptions = { input: "in", env: { PATH }, timeout: 20_000, maxOutput: 1000 };
const short = { timeout: 300 };
const long = "x".repeat(300_000);

function run(script: string, more: Partial<RunOptions> = {}): unknown {
  return sys.run("sh", ["-c", script], { ...usual, ...more });
}

function results(): unknown {
  const writesInPieces = true;
  const file = openSync("/proc/sys/kernel/ostype", "r");
  const found = [
    sys.env,
    run("for word in a b c; do printf $word; done; cat; echo no >&2", { writesInPieces }),
    run("printf 1234", { writesInPieces, maxOutput: 3 }),
    run("printf 1234; exit 7", { writesInPieces, maxOutput: 4 }),
    run("printf 1234; exit 7", { maxOutput: 4 }),
    run("kill -9 $$"),
    run("kill -TERM $$"),
    run("wc -c", { input: long }),
    run("exit 3", { input: long }),
    run("echo begun; sleep 60 & sleep 60", short),
    run("echo begun; exec >&- 2>&-; sleep 60", short),
    run("exec >&- 2>&-; wc -c >/dev/null; exit 5", { input: long }),
    run('ps -o sid= -p $$ | grep -qx " *$$"'),
    run("echo $FOO$NONE", { env: { PATH, FOO: "bar", NONE: undefined } }),
    run("cat <&4", { inherit: [1, file] }),
    run("printf é; printf '\\303'"),
    sys.run("/none", [], usual),
    sys.run("none", [], usual),
    sys.run("sh", ["a\0b"], usual),
    sys.sha512("é\ud800"),
    sys.sha512(Uint8Array.of(1, 2, 3)),
  ];
  closeSync(file);
  return found;
}

Object.assign(globalThis, { hostRegisters, results: () => JSON.stringify(results()) });
