/**
 * A call that does not end: the kernel's timer ends the agent, and the runtime tries again. strace keeps the
 * agent's thread in the call. The long form (SOAK=1) waits for the timer; the short one looks that it is set.
 */
import { describe, expect, test } from "vitest";
import { startAgent } from "../helpers/agent.ts";
import { binDir, cni, cniOk, createSandbox, leftovers } from "../helpers/cni.ts";
import { startDaemon } from "../helpers/flanneld.ts";
import { isBun, soak } from "../helpers/form.ts";
import { eventually } from "../lab/eventually.ts";
import { callTimeout } from "../../shared/agent/limits.ts";
import { bridgeConf, IPV4 } from "../helpers/network.ts";

const trace = "/run/trace";
const call = { bin: binDir(), plugin: "bridge", conf: bridgeConf([IPV4]) } as const;

describe.runIf(isBun).concurrent("a call over its time limit", () => {
  test.each(["ADD", "DEL"] as const)(
    "ends the agent, in %s",
    { timeout: 200_000 },
    async (command) => {
      await using node = await createSandbox();
      await node.addPod("pod1");
      const before = await node.snapshot();
      const agent = await startAgent(node);
      if (command === "DEL") await cniOk(node, { ...call, command: "ADD" });
      const [pid = ""] = (await node.sh(`pgrep -f '^${binDir()}/flannel agent$'`)).split("\n");
      const hold = `inject=setns:delay_enter=${String(600 * 1_000_000)}:when=1`;
      const filter = ["-e", "trace=setitimer,setns", "-e", hold];
      startDaemon(node, "strace", ["-f", "-qq", "-o", trace, ...filter, "-p", pid]);
      await eventually(
        async () => node.sh(`grep TracerPid /proc/${pid}/status`),
        (text) => !text.includes("\t0\n"),
      );
      const started = performance.now();
      const calling = cni(node, { ...call, command, timeout: 180_000 });
      const traced = await eventually(
        async () => node.sh(`cat ${trace}`),
        (text) => text.includes("setns("),
      );
      expect(traced).toContain(
        `setitimer(ITIMER_REAL, {it_interval={tv_sec=0, tv_usec=0}, it_value={tv_sec=${String(callTimeout)}`,
      );
      // The kernel ends the process when the thread is free, and the client waits as long as for an answer.
      if (!soak)
        await node.sh(
          `kill -ALRM ${pid}; until grep -q 'State:.Z' /proc/${pid}/status; do sleep 0.01; done; pkill -KILL strace`,
        );
      const answer = await calling;
      if (command === "DEL") expect(answer).toMatchObject({ code: 0, stdout: "" });
      else expect(answer).toMatchObject({ code: 1, json: { code: 11 } });
      if (soak) expect(performance.now() - started).toBeGreaterThan(callTimeout * 1000);
      const ends = `A call has taken ${String(callTimeout)} seconds: the agent ends.`;
      // The client hears of the end by its connection, and this test of the line by a pipe.
      await eventually(
        async () => agent.log(),
        (log) => log.includes(ends),
      );
      expect(await node.sh("ls /run/flannel-cni/agent")).toBe("lock\n");
      await cniOk(node, { ...call, command: "DEL" });
      const left = leftovers(before, await node.snapshot());
      expect(left.filter((line) => !/agent\/lock|\/run\/trace|processes: /.test(line))).toEqual([]);
    },
  );
});
