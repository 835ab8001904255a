/** Programs that stay in a sandbox, and end with it. Their logs are in the sandbox's /run/log. */
import type { Sandbox } from "../sandbox.ts";

/** A program that runs in a sandbox. */
export interface Background {
  readonly name: string;
  readonly isRunning: () => Promise<boolean>;
  /** The last lines of what it has written. */
  readonly log: (lines?: number) => Promise<string>;
  /** Sends a signal, and waits until it has ended. */
  readonly stop: (signal?: "TERM" | "KILL") => Promise<void>;
}

/** Starts a program. `name` is that of its log. */
export async function startInBackground(
  sandbox: Sandbox,
  name: string,
  command: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<Background> {
  const [log, pidFile] = [`/run/log/${name}.log`, `/run/log/${name}.pid`];
  const variables = Object.entries(env).map(([key, value]) => `${key}=${value}`);
  const script = `
    mkdir -p /run/log
    setsid env "$@" >> ${log} 2>&1 < /dev/null &
    echo $! > ${pidFile}
  `;
  await sandbox.output("sh", ["-ec", script, name, ...variables, ...command]);
  const isRunning = async (): Promise<boolean> => {
    // A zombie has no executable.
    const { exitCode } = await sandbox.exec("sh", [
      "-c",
      `readlink -q "/proc/$(cat ${pidFile})/exe" > /dev/null`,
    ]);
    return exitCode === 0;
  };
  return {
    name,
    isRunning,
    log: async (lines = 20) => sandbox.output("tail", ["-n", String(lines), log]),
    async stop(signal = "TERM") {
      await sandbox.sh(`
        pid=$(cat ${pidFile})
        kill -${signal} "$pid" || exit 0
        for try in $(seq 2000); do
          readlink -q "/proc/$pid/exe" > /dev/null || exit 0
          sleep 0.01
        done
        echo "${name} does not end" >&2
        exit 1
      `);
    },
  };
}
