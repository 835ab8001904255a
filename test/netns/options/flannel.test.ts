/** Each option that docs/plugins lists for flannel, on the real kernel. */
import { describe, expect, test } from "vitest";
import { binDir, cniOk, createSandbox, type Conf, type Sandbox } from "../../helpers/cni.ts";
import { flannelConf, IPV4, MTU, subnetEnv, writeSubnetEnv } from "../../helpers/network.ts";
import { globalAddresses } from "../../helpers/state.ts";

const call = { bin: binDir(), plugin: "flannel" } as const;

interface NodeOptions {
  readonly ipMasq?: boolean;
  readonly prepare?: (sandbox: Sandbox) => Promise<unknown>;
}

/** Adds a pod with these keys, looks, and deletes it. */
async function given(
  more: Conf,
  look: (sandbox: Sandbox, state: Conf) => Promise<void>,
  { ipMasq = true, prepare }: NodeOptions = {},
): Promise<void> {
  await using sandbox = await createSandbox();
  const pod = await sandbox.addPod("pod1");
  await writeSubnetEnv(sandbox, [IPV4], ipMasq);
  await prepare?.(sandbox);
  const conf = flannelConf("1.0.0", more);
  await cniOk(sandbox, { ...call, command: "ADD", conf });
  const dataDir = typeof more["dataDir"] === "string" ? more["dataDir"] : "/var/lib/cni/flannel";
  const state: unknown = JSON.parse(await sandbox.readFile(`${dataDir}/pod1`));
  expect(state).toMatchObject({ name: "cbr0" });
  await look(sandbox, state as Conf);
  await cniOk(sandbox, { ...call, command: "DEL", conf });
  expect(await sandbox.exists(`${dataDir}/pod1`)).toBe(false);
  if (more["delegate"] === undefined)
    expect(await pod.exec("ip", ["link", "show", "eth0"])).toMatchObject({ exitCode: 1 });
}

/** A delegate that records its calls and does nothing else. */
const otherPlugin = `#!/bin/sh
cat >/run/other.$CNI_COMMAND
[ $CNI_COMMAND = ADD ] && echo '{"cniVersion":"1.0.0","ips":[]}' || true
`;

const masked = async (sandbox: Sandbox) => (await sandbox.iptablesSave(4)).includes("MASQUERADE");
const mtus = async (sandbox: Sandbox): Promise<readonly unknown[]> => [
  (await sandbox.link("cni0")).mtu,
  (await sandbox.sh("ip -n pod1 -o link show eth0")).match(/mtu (\d+)/)?.[1],
];

describe.concurrent("the documented options of flannel:", () => {
  test("subnetFile", async () => {
    const file = "/run/elsewhere.env";
    await given(
      { subnetFile: file },
      async (sandbox) => {
        expect(await globalAddresses(sandbox, "cni0")).toEqual(["10.99.1.1/24"]);
      },
      {
        prepare: async (sandbox) =>
          sandbox.writeFile(file, subnetEnv([IPV4]).replaceAll("10.244", "10.99")),
      },
    );
  });
  test("dataDir", async () => {
    await given({ dataDir: "/var/lib/cni/other" }, async (sandbox) => {
      expect(await sandbox.exists("/var/lib/cni/flannel")).toBe(false);
    });
  });
  test("delegate", async () => {
    await given({ delegate: { bridge: "cni7", hairpinMode: true } }, async (sandbox, state) => {
      expect(state).toMatchObject({ bridge: "cni7", hairpinMode: true });
      expect((await sandbox.link("cni7")).operstate).toBe("UP");
    });
  });
  test("delegate.type", async () => {
    const path = `${call.bin}:/opt/cni/bin`;
    await using sandbox = await createSandbox();
    await sandbox.addPod("pod1");
    await writeSubnetEnv(sandbox, [IPV4]);
    await sandbox.writeFile("/opt/cni/bin/other", otherPlugin, 0o755);
    const conf = flannelConf("1.0.0", { delegate: { type: "other" } });
    await cniOk(sandbox, { ...call, path, command: "ADD", conf });
    expect(JSON.parse(await sandbox.readFile("/run/other.ADD"))).toMatchObject({ type: "other" });
    await cniOk(sandbox, { ...call, path, command: "DEL", conf });
    expect(JSON.parse(await sandbox.readFile("/run/other.DEL"))).toMatchObject({ type: "other" });
  });
  test("delegate.ipMasq", async () => {
    const found: boolean[] = [];
    const look = async (sandbox: Sandbox): Promise<void> => {
      found.push(await masked(sandbox));
    };
    await given({}, look, { ipMasq: true });
    await given({}, look, { ipMasq: false });
    await given({ delegate: { ipMasq: true } }, look, { ipMasq: true });
    await given({ delegate: { ipMasq: false } }, look, { ipMasq: false });
    expect(found).toEqual([false, true, true, false]);
  });
  test("delegate.mtu", async () => {
    await given({}, async (sandbox) => {
      expect(await mtus(sandbox)).toEqual([MTU, String(MTU)]);
    });
    await given({ delegate: { mtu: 1400 } }, async (sandbox) => {
      expect(await mtus(sandbox)).toEqual([1400, "1400"]);
    });
  });
  test("delegate.isGateway", async () => {
    await given({}, async (sandbox) => {
      expect(await globalAddresses(sandbox, "cni0")).toEqual(["10.244.1.1/24"]);
    });
    await given({ delegate: { isGateway: false } }, async (sandbox) => {
      expect(await globalAddresses(sandbox, "cni0")).toEqual([]);
    });
  });
  test("ipam", async () => {
    await given(
      { ipam: { dataDir: "/var/lib/cni/ipam", routes: [{ dst: "198.51.100.0/24" }] } },
      async (sandbox) => {
        expect(await sandbox.list("/var/lib/cni/ipam/cbr0")).toContain("10.244.1.2");
        const routes = await sandbox.sh("ip -n pod1 route");
        expect(routes).toContain("198.51.100.0/24 via 10.244.1.1");
        expect(routes).toContain("10.244.0.0/16 via 10.244.1.1");
      },
    );
  });
  test("ipam.type", async () => {
    const path = `${call.bin}:/opt/cni/bin`;
    await using sandbox = await createSandbox();
    await sandbox.addPod("pod1");
    await writeSubnetEnv(sandbox, [IPV4]);
    await sandbox.writeFile(
      "/opt/cni/bin/fixed",
      otherPlugin.replace('"ips":[]', '"ips":[{"address":"10.244.1.200/24"}]'),
      0o755,
    );
    const conf = flannelConf("1.0.0", { ipam: { type: "fixed" } });
    await cniOk(sandbox, { ...call, path, command: "ADD", conf });
    expect(await sandbox.sh("ip -n pod1 -o addr show eth0")).toContain("10.244.1.200/24");
    await cniOk(sandbox, { ...call, path, command: "DEL", conf });
    expect(await sandbox.exists("/run/other.DEL")).toBe(true);
  });
  test("runtimeConfig", async () => {
    await given({ runtimeConfig: { mac: "02:11:22:33:44:55" } }, async (sandbox) => {
      expect(await sandbox.sh("ip -n pod1 -o link show eth0")).toContain("02:11:22:33:44:55");
    });
  });
});
