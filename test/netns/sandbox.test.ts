/** The sandbox that all other tests rely on: it is apart from the machine, and nothing outlives it. */
import { existsSync, readlinkSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { execa } from "execa";
import { describe, expect, test } from "vitest";
import { difference, type Snapshot } from "../lab/snapshot.ts";
import { createSandbox } from "../helpers/cni.ts";

/** Waits until a process is gone, for at most two seconds. */
async function isGone(pid: number): Promise<boolean> {
  for (let waited = 0; waited < 2000 && isAlive(pid); waited += 20) await sleep(20);
  return !isAlive(pid);
}

function isAlive(pid: number): boolean {
  try {
    // A process that has ended and isn't waited for yet has no namespaces any more.
    readlinkSync(`/proc/${pid}/ns/net`);
    return true;
  } catch {
    return false;
  }
}

describe.concurrent("a sandbox", () => {
  test("has a network, mounts and processes of its own", async () => {
    await using sandbox = await createSandbox();
    for (const namespace of ["net", "mnt", "pid"]) {
      const inside = (await sandbox.output("readlink", [`/proc/self/ns/${namespace}`])).trim();
      expect(inside).not.toBe(readlinkSync(`/proc/self/ns/${namespace}`));
    }
    for (const directory of ["/run", "/etc/cni", "/opt/cni", "/var/lib/cni"]) {
      await sandbox.writeFile(`${directory}/only-inside`, "");
      expect(existsSync(`${directory}/only-inside`)).toBe(false);
    }
    await expect(sandbox.writeFile("/usr/outside", "")).rejects.toThrow("/usr/outside");
  });

  test("follows links as a process in it would", async () => {
    await using sandbox = await createSandbox();
    // Read from outside, an absolute link leads to the machine's own file.
    await sandbox.sh("mkdir /run/real; ln -s /run/real /run/link");
    await sandbox.writeFile("/run/link/file", "inside");
    expect(await sandbox.readFile("/run/real/file")).toBe("inside");
    expect(existsSync("/run/link")).toBe(false);
  });

  test("sees what comes and goes", async () => {
    await using sandbox = await createSandbox();
    const before = await sandbox.snapshot();
    expect(await sandbox.snapshot()).toEqual(before);
    const pod = await sandbox.addPod("pod1");
    await pod.sh("ip link add br0 type bridge; ip address add 10.9.9.9/24 dev br0");
    await sandbox.sh("iptables -t nat -N MINE; nft add table inet mine '{ chain c { accept; }; }'");
    const news = difference(before, await sandbox.snapshot()).join("\n");
    expect(news).toMatch(/^\+ links: pod1 br0 bridge /m);
    expect(news).toMatch(/^\+ addresses: pod1 br0 10\.9\.9\.9\/24$/m);
    expect(news).toMatch(/^\+ namespaces: pod1$/m);
    expect(news).toMatch(/^\+ iptables-nft: nat -N MINE$/m);
    expect(news).toMatch(/^\+ nft: rule .*"table":"mine"/m);
    await sandbox.sh("iptables -t nat -X MINE; nft delete table inet mine");
    await sandbox.removePod("pod1");
    expect(difference(before, await sandbox.snapshot())).toEqual(["+ mounts: /run/netns tmpfs"]);
  });

  test("is not changed by namespaces that come and go on the machine", async () => {
    const library = new URL("../lab/sandbox.ts", import.meta.url).href;
    const script = `
      import { execFileSync } from "node:child_process";
      import { createSandbox } from ${JSON.stringify(library)};
      const netns = (...args) => execFileSync("ip", ["netns", ...args]);
      netns("add", "old");
      await using sandbox = await createSandbox();
      const before = await sandbox.snapshot();
      netns("delete", "old");
      netns("add", "new");
      console.log(JSON.stringify({ before, after: await sandbox.snapshot() }));
    `;
    // Here the machine is a network and mount namespace, so that this test leaves the real one alone.
    const machine = 'mount -t tmpfs tmpfs /run && exec "$0" --input-type=module --eval "$1"';
    const flags = ["--net", "--mount", "--propagation", "private"];
    const shell = ["sh", "-c", machine, process.execPath, script];
    const { stdout } = await execa("unshare", [...flags, ...shell]);
    const { before, after } = JSON.parse(stdout) as Readonly<Record<string, Snapshot>>;
    expect(after).toEqual(before);
    expect(before?.["mounts"]).toContain("/run tmpfs");
    expect(before?.["mounts"]?.filter((line) => line.includes("netns"))).toEqual([]);
  });

  test("ends a program at its time limit, with all that it started", async () => {
    await using sandbox = await createSandbox();
    const result = await sandbox.exec("sh", ["-c", "sleep 60 & sleep 60"], { timeout: 100 });
    expect(result.timedOut).toBe(true);
    expect((await sandbox.snapshot())["processes"]).toEqual([]);
  });

  test("ends with all that runs in it", async () => {
    const sandbox = await createSandbox();
    const running = sandbox.exec("sleep", ["60"]);
    await sandbox.sh("setsid sleep 60 > /dev/null 2>&1 &");
    await sandbox.close();
    expect((await running).exitCode).not.toBe(0);
    expect(await isGone(sandbox.pid)).toBe(true);
  });

  test("ends when the process that made it is killed", async () => {
    const library = new URL("../lab/sandbox.ts", import.meta.url).href;
    const script = `
      import { createSandbox } from ${JSON.stringify(library)};
      console.log((await createSandbox()).pid);
      setInterval(() => {}, 1000);
    `;
    const owner = execa(process.execPath, ["--input-type=module", "--eval", script], {
      reject: false,
    });
    for await (const line of owner) {
      const pid = Number(line);
      expect(isAlive(pid)).toBe(true);
      owner.kill("SIGKILL");
      expect(await isGone(pid)).toBe(true);
    }
  });
});
