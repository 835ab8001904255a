/** What the kernel tells of a node's IPv4 routes while something happens: each change, also for a moment. */
import type { Sandbox } from "./sandbox.ts";

/** Routes of the monitor's own, by which it shows that it listens, and that it has heard everything. */
const OWN = /203\.0\.113\.\d/;

export interface RouteMonitor {
  /** Ends it. @returns the changes in `ip monitor`'s words, a line each. */
  readonly stop: () => Promise<readonly string[]>;
}

/** Starts it, one at a time on a node. Returns when it listens. */
export async function monitorRoutes(
  sandbox: Pick<Sandbox, "sh" | "readFile">,
): Promise<RouteMonitor> {
  await sandbox.sh(`
    ip -4 monitor route </dev/null >/run/routes 2>&1 &
    echo $! > /run/monitor
    until grep -q 203.0.113.1 /run/routes; do
      ip route replace 203.0.113.1/32 dev lo
      ip route delete 203.0.113.1/32
    done
  `);
  return {
    async stop() {
      // Events come in order: what was before this route has been read when it has.
      await sandbox.sh(`
        ip route add 203.0.113.2/32 dev lo
        until grep -q 203.0.113.2 /run/routes; do sleep 0.01; done
        kill $(cat /run/monitor)
        ip route delete 203.0.113.2/32
      `);
      const lines = (await sandbox.readFile("/run/routes")).trim().split("\n");
      return lines.filter((line) => !OWN.test(line));
    },
  };
}
