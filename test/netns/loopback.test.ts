/** The loopback plugin brings a pod's `lo` up, and takes it down. */
import { describe, expect, test } from "vitest";
import { binDir, cni, cniOk, createSandbox } from "../helpers/cni.ts";
import { VERSIONS } from "../helpers/network.ts";
import { expectError } from "../helpers/state.ts";

const bin = binDir();
const plugin = "loopback";
const call = { bin, plugin, ifname: "lo" } as const;

describe.concurrent("loopback", () => {
  test.for(VERSIONS)("ADD, CHECK, DEL, DEL again in CNI %s", async (cniVersion) => {
    const conf = { cniVersion, name: "lo", type: plugin };
    await using sandbox = await createSandbox();
    const pod = await sandbox.addPod("pod1");
    expect((await pod.link("lo")).flags).not.toContain("UP");

    const result = await cniOk(sandbox, { ...call, command: "ADD", conf });
    expect(result.cniVersion).toBe(cniVersion);
    if (cniVersion < "0.3.0") {
      expect(result).toMatchObject({ ip4: { ip: "127.0.0.1/8" }, ip6: { ip: "::1/128" } });
    } else {
      expect(result.interfaces).toMatchObject([{ name: "lo", sandbox: pod.netnsPath }]);
      expect(result.ips).toMatchObject([
        { interface: 0, address: "127.0.0.1/8" },
        { interface: 0, address: "::1/128" },
      ]);
      const versions = cniVersion < "1.0.0" ? ["4", "6"] : [undefined, undefined];
      expect(result.ips?.map(({ version }) => version)).toEqual(versions);
    }
    expect((await pod.link("lo")).flags).toContain("UP");
    expect(await pod.ping("127.0.0.1")).toBe(true);
    expect(await pod.ping("::1")).toBe(true);

    const check = await cni(sandbox, {
      ...call,
      command: "CHECK",
      conf: cniVersion < "0.4.0" ? conf : { ...conf, prevResult: result },
    });
    if (cniVersion < "0.4.0") expectError(check, 1);
    else expect(check).toMatchObject({ code: 0, stdout: "" });
    for (const time of ["first", "second"]) {
      const answer = await cni(sandbox, { ...call, command: "DEL", conf });
      expect(answer, `the ${time} DEL`).toMatchObject({ code: 0, stdout: "" });
    }
    expect((await pod.link("lo")).flags).not.toContain("UP");
  });

  test("hands on the result of the plugin before it", async () => {
    const prevResult = {
      cniVersion: "1.0.0",
      interfaces: [{ name: "eth0", mac: "0a:58:0a:f4:01:02", sandbox: "/run/netns/pod1" }],
      ips: [{ interface: 0, address: "10.244.1.2/24", gateway: "10.244.1.1" }],
      routes: [{ dst: "0.0.0.0/0", gw: "10.244.1.1" }],
      dns: { nameservers: ["10.96.0.10"] },
    };
    await using sandbox = await createSandbox();
    await sandbox.addPod("pod1");
    const conf = { cniVersion: "1.0.0", name: "lo", type: plugin, prevResult };
    expect(await cniOk(sandbox, { ...call, command: "ADD", conf })).toEqual(prevResult);
  });

  test("DEL without a namespace succeeds", async () => {
    const conf = { cniVersion: "1.0.0", name: "lo", type: plugin };
    await using sandbox = await createSandbox();
    for (const netns of ["", "/run/netns/gone"]) {
      expect(await cni(sandbox, { ...call, command: "DEL", netns, conf })).toMatchObject({
        code: 0,
        stdout: "",
      });
    }
  });

  // A path with a PID may lead to the host's namespace when the PID is reused.
  test.for(["ADD", "DEL", "CHECK"] as const)(
    "B9: %s never touches the node's own lo",
    async (command) => {
      const conf = { cniVersion: "1.0.0", name: "lo", type: plugin };
      await using sandbox = await createSandbox();
      const before = await sandbox.snapshot();
      const answer = await cni(sandbox, { ...call, command, netns: sandbox.netnsPath, conf });
      // A DEL must succeed if there is nothing to do.
      if (command !== "DEL") expectError(answer, [4, 7]);
      expect((await sandbox.link("lo")).flags).toContain("UP");
      expect(await sandbox.snapshot()).toEqual(before);
    },
  );

  test("CHECK notices that lo is down", async () => {
    const conf = { cniVersion: "1.0.0", name: "lo", type: plugin };
    await using sandbox = await createSandbox();
    const pod = await sandbox.addPod("pod1");
    const prevResult = await cniOk(sandbox, { ...call, command: "ADD", conf });
    await pod.sh("ip link set lo down");
    const answer = await cni(sandbox, { ...call, command: "CHECK", conf: { ...conf, prevResult } });
    expect(answer.code).toBe(1);
    expect(answer.json?.msg).toMatch(/lo/);
  });
});
