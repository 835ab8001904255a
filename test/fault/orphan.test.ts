/**
 * A DEL without an agent does not wait for the kernel to free the link, nor rules: a process that nobody waits for
 * sends the request, or closes the socket. Of the Bun build that begins with the native client.
 */
import { describe, expect, test } from "vitest";
import { binDir, cni, createSandbox, leftovers, type CniCall, type Conf } from "../helpers/cni.ts";
import { clients } from "../helpers/clients.ts";
import { isBun } from "../helpers/form.ts";
import { eventually } from "../lab/eventually.ts";

const conf: Conf = {
  cniVersion: "1.0.0",
  name: "net",
  type: "bridge",
  isGateway: true,
  ipam: { type: "host-local", subnet: "10.9.0.0/24", rangeStart: "10.9.0.7", rangeEnd: "10.9.0.7" },
};
const trace = "/run/trace";

function callOf(command: "ADD" | "DEL", pod: string): CniCall {
  const netns = `/run/netns/${pod}`;
  return { bin: binDir(), plugin: "bridge", command, containerId: pod, netns, conf };
}

const hasSender = isBun && clients().some(({ name }) => name === "native client");

describe.runIf(hasSender)("a DEL without an agent", () => {
  test("answers when link and port are gone, and the address is free at once", async () => {
    await using node = await createSandbox();
    await node.addPods(["pod1", "pod2"]);
    const before = await node.snapshot();
    for (let round = 0; round < 20; round++) {
      const pod = round % 2 === 0 ? "pod1" : "pod2";
      for (const verb of ["ADD", "DEL"] as const) {
        const { code, stdout } = await cni(node, callOf(verb, pod));
        expect([code, verb === "DEL" ? stdout : ""]).toEqual([0, ""]);
      }
      const look = `ip -n ${pod} -br link show type veth; ip -br link show type veth; bridge link show`;
      expect(await node.sh(look)).toBe("");
    }
    expect(leftovers(before, await node.snapshot())).toEqual([]);
  });

  test("leaves the request to a process with no other file, which ends with it", async () => {
    await using node = await createSandbox();
    await node.addPod("pod1");
    await cni(node, callOf("ADD", "pod1"));
    const prefix = ["strace", "-f", "-qq", "-y", "-o", trace];
    const calls = "trace=clone,close_range,sendto,exit,exit_group";
    const { code } = await cni(node, {
      ...callOf("DEL", "pod1"),
      prefix: [...prefix, "-e", calls, "-e", "signal=none"],
    });
    expect(code).toBe(0);
    const text = (await node.readFile(trace)).trim();
    const lines = text.split("\n");
    // strace breaks the line where the orphan is the first to do something.
    const orphan = /clone\(.*flags=CLONE_VM(?:| <unfinished[^]*?clone resumed>)\) += (\d+)$/m.exec(
      text,
    );
    const isOwn = (line: string) => line.startsWith(`${orphan?.[1] ?? "no orphan"} `);
    const own = lines.filter(isOwn).join("\n");
    expect(own).toMatch(
      /close_range.*\n.*close_range.*\n.*sendto\(.*nlmsg_type=(RTM_DELLINK|0x11)/,
    );
    expect(own).not.toContain("exit_group");
    const rest = lines.filter((line) => !isOwn(line)).join("\n");
    expect(rest).not.toMatch(/nlmsg_type=(RTM_DELLINK|0x11)/);
  });

  test("waits itself where there is no room for a process", async () => {
    await using node = await createSandbox();
    await node.addPod("pod1");
    await cni(node, callOf("ADD", "pod1"));
    const inject = ["-e", "trace=clone", "-e", "inject=clone:error=EAGAIN"];
    const prefix = ["strace", "-f", "-qq", "-o", trace, ...inject];
    const { code } = await cni(node, { ...callOf("DEL", "pod1"), prefix });
    expect([code, await node.readFile(trace)]).toEqual([0, expect.stringContaining("INJECTED")]);
    expect(await node.sh("ip -n pod1 -br link show type veth")).toBe("");
  });

  /** The link is deleted by another call while the orphan is late, or before. */
  test.each([true, false])("spares the next link, however late (%s)", async (isThere) => {
    await using node = await createSandbox();
    await node.addPod("pod1");
    if (isThere) await cni(node, callOf("ADD", "pod1"));
    // The plugin itself calls it once, the orphan twice before it sends.
    const late = ["-e", "inject=close_range:signal=STOP:when=2"];
    const filter = ["-e", "trace=clone,close_range,exit_group", ...late];
    const prefix = ["strace", "-f", "-qq", "-o", trace, ...filter];
    const del = cni(node, { ...callOf("DEL", "pod1"), prefix });
    const traced = async (call: string): Promise<void> => {
      const found = `grep -s '${call}(.*' ${trace} || true`;
      const lines = await eventually(
        async () => node.sh(found),
        (text) => text !== "",
        20_000,
      );
      expect(lines).not.toBe("");
    };
    if (isThere) {
      await traced("clone");
      await node.sh("ip -n pod1 link delete eth0");
    }
    await traced("exit_group");
    const { code } = await cni(node, callOf("ADD", "pod1"));
    if (isThere) await node.sh("pkill -CONT -x bridge");
    expect([code, (await del).code]).toEqual([0, 0]);
    expect(await node.sh("ip -n pod1 -br link show type veth")).toMatch(/^eth0@/);
  });

  test("leaves the socket by which rules were deleted to a process, which closes it later", async () => {
    await using node = await createSandbox();
    await node.addPod("pod1");
    const { json: prevResult } = await cni(node, callOf("ADD", "pod1"));
    const portMappings = [{ hostPort: 8080, containerPort: 80, protocol: "tcp" }];
    const portmap = (command: "ADD" | "DEL"): CniCall => ({
      ...callOf(command, "pod1"),
      plugin: "portmap",
      conf: { ...conf, type: "portmap", prevResult, runtimeConfig: { portMappings } },
    });
    expect((await cni(node, portmap("ADD"))).code).toBe(0);
    expect(await node.sh("nft list ruleset")).toContain("8080");
    const calls = "trace=clone,close_range,nanosleep,sendmsg,sendto";
    const prefix = ["strace", "-f", "-qq", "-y", "-o", trace, "-e", calls, "-e", "signal=none"];
    expect(await cni(node, { ...portmap("DEL"), prefix })).toMatchObject({ code: 0, stdout: "" });
    expect(await node.sh("nft list ruleset")).not.toContain("8080");
    const lines = (await node.readFile(trace)).trim().split("\n");
    const orphans = new Set(
      lines.filter((line) => line.includes("nanosleep(")).map((line) => line.split(" ")[0] ?? ""),
    );
    const [orphan = "no orphan"] = orphans;
    const own = lines.filter((line) => line.startsWith(`${orphan} `)).join("\n");
    expect(own).toMatch(
      /close_range.*\n.*close_range.*\n.*nanosleep\(\{tv_sec=0, tv_nsec=40000000\}/,
    );
    expect(own).not.toContain("send");
    expect(lines.join("\n")).not.toContain("SCM_RIGHTS");
  });

  test("leaves no process", async () => {
    await using node = await createSandbox();
    await node.addPod("pod1");
    await cni(node, callOf("ADD", "pod1"));
    await cni(node, callOf("DEL", "pod1"));
    // Those that have ended and that the sandbox's first process has not collected have no memory.
    const running =
      "grep -l '^VmSize' /proc/[0-9]*/status | xargs grep -h '^Name:.*bridge' || true";
    expect(
      await eventually(
        async () => node.sh(running),
        (text) => text === "",
      ),
    ).toBe("");
  });
});
