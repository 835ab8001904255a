/**
 * The agent's clients, with an agent that answers, declines, is late, ends at each step, or is stopped:
 * each call is answered once, and carried out by whoever it was left to.
 */
import { fileURLToPath } from "node:url";
import { describe, expect, test, vi } from "vitest";
import { cni, createSandbox, type CniAnswer, type CniCall, type Sandbox } from "../helpers/cni.ts";
import { clients } from "../helpers/clients.ts";
import { isBun, soak } from "../helpers/form.ts";
import type { Received, Step } from "./fake_agent.ts";

const mostAttempts = 5;
const patience = { timeout: 20_000, interval: 50 };
const program = fileURLToPath(import.meta.resolve("./fake_agent.ts"));
const stdout = '{ "from": "the agent" }\n';

/** The bytes of an answer. */
function answer(code: number, text: string): string {
  const length = Buffer.alloc(4);
  length.writeUInt32LE(text.length);
  return `R${String.fromCodePoint(code)}${length.toString("latin1")}${text}`;
}

const offered: readonly Step[] = ["request", { say: "O" }, "acceptance"];
const answered: readonly Step[] = [...offered, { say: "B" }, { say: answer(0, stdout) }];

interface Lab extends AsyncDisposable {
  readonly node: Sandbox;
  /** Tells the agent what to do from now on. */
  act(steps: readonly Step[]): Promise<void>;
  /** What clients have said since. */
  received(): Promise<readonly Received[]>;
  /** Calls loopback's verb for pod1. */
  call(command: CniCall["command"], more?: Partial<CniCall>): Promise<CniAnswer>;
  /**
   * Makes a call, and makes it again if its client has accepted no offer: it waits for 50 ms, and a processor may
   * be busy with something else for as long.
   */
  accepted<Answer>(call: () => Promise<Answer>): Promise<Answer>;
  isUp(): Promise<boolean>;
}

async function createLab(bin: string): Promise<Lab> {
  const node = await createSandbox();
  // A process of its own: nsenter stops with the one that it has started.
  const script = `exec 3<&0; ${process.execPath} ${program} <&3 & wait`;
  const agent = await node.start("sh", ["-c", script]);
  await node.addPod("pod1");
  const conf = { cniVersion: "1.1.0", name: "lo", type: "loopback" };
  const acceptances = async (): Promise<number> => (await node.readFile("/run/acceptances")).length;
  return {
    node,
    accepted: async (call) => {
      for (let attempt = 1; ; attempt++) {
        const before = await acceptances();
        const got = await call();
        if (attempt === mostAttempts || (await acceptances()) > before) return got;
        await node.sh("ip -n pod1 link set lo down");
      }
    },
    act: async (steps) => void (await agent.ask(JSON.stringify(steps))),
    received: async () => JSON.parse(await agent.ask("log")) as readonly Received[],
    call: async (command, more = {}) =>
      cni(node, { bin, plugin: "loopback", command, conf, ...more }),
    isUp: async () => (await node.sh("ip -n pod1 -br link show lo")).includes("<LOOPBACK,UP"),
    [Symbol.asyncDispose]: () => node.close(),
  };
}

/** The native client is the same on Node, byte by byte. */
const tested = clients().filter(({ name }) => isBun || soak || name === "executable");

describe.runIf(tested.length > 0)("of the agent", () => {
  describe.each(tested)("the $name", ({ bin }) => {
    test("sends its call and prints the answer", async () => {
      await using lab = await createLab(bin);
      await lab.act(answered);
      const conf = '{"cniVersion":"1.1.0","name":"é"}';
      const extraEnv = { CNI_ARGS: "A=\u00e9;B=2", XTABLES_LOCKFILE: "/run/x", HOME: "/root" };
      const added = await lab.accepted(() => lab.call("ADD", { conf, extraEnv }));
      expect(added).toMatchObject({ code: 0, stdout, stderr: "" });
      expect(await lab.isUp()).toBe(false);
      const received = (await lab.received()).at(-1);
      expect(received?.after).toBe("A");
      const bytes = Buffer.from(received?.request ?? "", "latin1");
      expect(bytes.toString("latin1", 0, 8)).toBe("flcni\0\0\u0001");
      expect(bytes.toString("latin1", 8, 40)).toMatch(/^[0-9a-f]{32}$/);
      const end = 48 + bytes.readUInt32LE(40);
      expect(bytes.toString("utf8", end)).toBe(conf);
      const [name, ...variables] = bytes.toString("utf8", 48, end).split("\0");
      expect([name, variables.pop()]).toEqual(["loopback", ""]);
      expect(variables.toSorted()).toEqual([
        "CNI_ARGS=A=\u00e9;B=2",
        "CNI_COMMAND=ADD",
        "CNI_CONTAINERID=pod1",
        "CNI_IFNAME=eth0",
        "CNI_NETNS=/run/netns/pod1",
        `CNI_PATH=${bin}`,
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "XTABLES_LOCKFILE=/run/x",
      ]);
    });

    test("passes a file for stderr and the namespace, whatever is at its path", async () => {
      await using lab = await createLab(bin);
      await lab.act(answered);
      await lab.node.sh("mkfifo /run/fifo");
      const trace = [
        "strace",
        "-f",
        "-qq",
        "-o",
        "/run/trace",
        "-e",
        "trace=memfd_create,openat,open,sendmsg",
      ];
      for (const [netns, passed] of [
        ["/run/netns/pod1", true],
        ["/run/fifo", true],
        ["/run/nothing", false],
        ["", false],
      ] as const) {
        const added = await lab.accepted(() => lab.call("ADD", { netns, prefix: trace }));
        expect(added.stdout).toBe(stdout);
        const text = await lab.node.readFile("/run/trace");
        const fds = passed ? ["memfd_create", `"${netns}"`] : ["memfd_create"];
        const numbers = fds.map((call) => new RegExp(`${call}.* = (\\d+)$`, "m").exec(text)?.[1]);
        expect(text).toContain(`cmsg_data=[${numbers.join(", ")}]`);
      }
    });

    test("prints errors, long answers and nothing", async () => {
      await using lab = await createLab(bin);
      const long = `${"x".repeat(3_000_000)}\n`;
      for (const [code, text] of [
        [1, '{ "code": 7 }\n'],
        [255, ""],
        [0, ""],
        [0, long],
      ] as const) {
        await lab.act([...offered, { say: `B${answer(code, text)}` }]);
        const deleted = await lab.accepted(() => lab.call("DEL"));
        expect(deleted).toMatchObject({ code, stdout: text });
      }
    });

    const broken: readonly (readonly [what: string, steps: readonly Step[]])[] = [
      ["ends before the request", []],
      ["ends after the request", ["request"]],
      ["declines", ["request", { say: "D" }]],
      ["says something else", ["request", { say: "?" }]],
      ["offers too late", ["request", { wait: 100 }, { say: "O" }]],
      ["is stopped before the request", ["stop"]],
      ["ends after the offer", ["request", { say: "O" }]],
      ["ends before it begins", offered],
      ["declines before it begins", [...offered, { say: "D" }]],
      ["declines when it has begun", [...offered, { say: "BD" }]],
    ];

    test.each(broken)("does the call itself if the agent %s", async (_, steps) => {
      await using lab = await createLab(bin);
      await lab.act(steps);
      const added = await lab.call("ADD");
      expect(added).toMatchObject({ code: 0, stderr: "" });
      expect(added.stdout).toContain('"cniVersion": "1.1.0"');
      expect(await lab.isUp()).toBe(true);
      if (steps[0] === "stop") {
        await lab.node.sh("pkill -CONT -f fake_agent");
      }
      // It was asked once.
      await vi.waitFor(async () => expect(await lab.received()).toHaveLength(1), patience);
    });

    const lost: readonly (readonly [what: string, steps: readonly Step[]])[] = [
      ["ends when it has begun", [...offered, { say: "B" }]],
      ["ends in its answer", [...offered, { say: `B${answer(0, stdout).slice(0, -1)}` }]],
      ["answers too much", [...offered, { say: `B${answer(0, stdout)}x` }]],
      ["answers nonsense", [...offered, { say: "BX" }]],
    ];

    test.each(lost)("asks to try again if the agent %s", async (_, steps) => {
      await using lab = await createLab(bin);
      await lab.act(steps);
      const added = await lab.accepted(() => lab.call("ADD"));
      expect(added).toMatchObject({ code: 1, json: { cniVersion: "1.1.0", code: 11 } });
      expect(await lab.isUp()).toBe(false);
      // What is the same when it is repeated is repeated.
      expect(await lab.call("DEL")).toMatchObject({ code: 0, stdout: "" });
      await lab.node.sh("ip -n pod1 link set lo up");
      expect(await lab.call("DEL")).toMatchObject({ code: 0, stdout: "" });
      expect(await lab.isUp()).toBe(false);
    });

    test.each(["ADD", "DEL"] as const)("ends an agent that stays stopped, in %s", async (verb) => {
      await using lab = await createLab(bin);
      await lab.act([...offered, { say: "B" }, "stop"]);
      const started = performance.now();
      const ended = await lab.accepted(() => lab.call(verb));
      if (verb === "DEL") expect(ended).toMatchObject({ code: 0, stdout: "" });
      else expect(ended).toMatchObject({ code: 1, json: { code: 11 } });
      // A runtime ends a call after minutes.
      expect(performance.now() - started).toBeLessThan(30_000);
      // Going on, it would finish this call after the next ones.
      expect(await lab.node.sh("pgrep -f 'n[o]de.*fake_agent' || echo gone")).toContain("gone");
    });

    test("waits for an agent that is slow", async () => {
      await using lab = await createLab(bin);
      await lab.act([...offered, { say: "B" }, { wait: 2500 }, { say: answer(0, stdout) }]);
      const added = await lab.accepted(() => lab.call("ADD"));
      expect(added).toMatchObject({ code: 0, stdout });
    });

    test("does not ask for what an agent does not do", async () => {
      await using lab = await createLab(bin);
      await lab.act(answered);
      const huge = JSON.stringify({ cniVersion: "1.1.0", name: "lo", x: "x".repeat(1 << 20) });
      for (const more of [
        { extraEnv: { CNI_NETNS_OVERRIDE: "1" } },
        { extraEnv: { CNI_ARGS: `A=${"x".repeat(70_000)}` } },
        { conf: huge },
      ]) {
        expect((await lab.call("ADD", more)).stdout).toContain('"cniVersion": "1.1.0"');
        expect(await lab.isUp()).toBe(true);
        await lab.node.sh("ip -n pod1 link set lo down");
      }
      const tooLong = `${huge}${" ".repeat(10 << 20)}`;
      expect((await lab.call("ADD", { conf: tooLong })).stdout).toContain("at most 8 MB");
      expect((await lab.call("VERSION")).stdout).toContain("supportedVersions");
      expect((await lab.received()).filter(({ request }) => request !== "")).toEqual([]);
    });

    test("undoes an ADD whose result nobody gets", async () => {
      await using lab = await createLab(bin);
      const env = `CNI_COMMAND=ADD CNI_CONTAINERID=a CNI_NETNS=/run/netns/pod1 CNI_IFNAME=lo CNI_PATH=${bin}`;
      const conf = `printf '{"cniVersion":"1.1.0","name":"lo","type":"loopback"}'`;
      const add = (to: string): Promise<string> =>
        lab.node.sh(
          `ip -n pod1 link set lo up; { ${conf} | ${env} ${bin}/loopback ${to}; } || echo $?`,
        );
      // The disk is full, the reader leaves during the call, the reader has left, there is none.
      await lab.act(answered);
      expect(await add(">/dev/full 2>/run/stderr")).toBe("1\n");
      expect(await lab.isUp()).toBe(false);
      await lab.act([...offered, { say: "B" }, { wait: 300 }, { say: answer(0, stdout) }]);
      await lab.accepted(() => add("| sleep 0.1"));
      await vi.waitFor(async () => expect(await lab.isUp()).toBe(false), patience);
      await lab.act(answered);
      await add("| true");
      await add(">&-");
      for (const { after } of await lab.received()) expect(["", "A"]).toContain(after);
    });

    test("works without stdin, and with a slow one", async () => {
      await using lab = await createLab(bin);
      await lab.act(answered);
      const env = `CNI_COMMAND=ADD CNI_CONTAINERID=a CNI_NETNS=/run/netns/pod1 CNI_IFNAME=lo CNI_PATH=${bin}`;
      const closed = await lab.node.exec("sh", ["-c", `${env} ${bin}/loopback <&-`]);
      expect(closed.stdout).toMatch(/from the agent|Cannot read the network config|the agent/);
      const slow = `(sleep 0.2; printf '{"name":'; sleep 0.1; printf '"lo"}') | ${env} ${bin}/loopback`;
      expect(await lab.accepted(() => lab.node.sh(slow))).toBe(stdout);
      const requests = (await lab.received()).map(({ request }) => request);
      expect(requests.at(-1)).toMatch(/\{"name":"lo"\}$/);
    });

    test("a burst is answered, each call once", async () => {
      await using lab = await createLab(bin);
      await lab.act(answered);
      const count = soak ? 300 : 60;
      const answers = await Promise.all(Array.from({ length: count }, () => lab.call("STATUS")));
      for (const { code, stderr } of answers)
        expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    });

    test("a client that is killed leaves before the call begins, or not at all", async () => {
      await using lab = await createLab(bin);
      const kills = soak ? 300 : 20;
      await lab.act(answered);
      for (let kill = 0; kill < kills; kill++) {
        const after = (kill / kills) * 0.01;
        await lab.node.sh(`
        printf '{"cniVersion":"1.1.0","name":"lo","type":"loopback"}' >/run/conf
        export CNI_COMMAND=STATUS CNI_PATH=${bin}
        timeout -s KILL ${after.toFixed(4)} ${bin}/loopback </run/conf >/run/out || true
      `);
        // All of the answer, or nothing.
        expect(["", stdout]).toContain(await lab.node.readFile("/run/out"));
      }
      await vi.waitFor(
        async () => expect((await lab.call("STATUS")).stdout).toBe(stdout),
        patience,
      );
    });
  });
});
