/** ADD, CHECK, DEL and DEL again, in every CNI version, for IPv4, IPv6 and dual stack. */
import { describe, expect } from "vitest";
import {
  binDir,
  cni,
  cniOk,
  createSandbox,
  leftovers,
  type CniJson,
  type Conf,
  type Namespace,
} from "../helpers/cni.ts";
import {
  bridgeConf,
  flannelConf,
  MTU,
  STACKS,
  VERSIONS,
  writeSubnetEnv,
  type Family,
  type Version,
} from "../helpers/network.ts";
import { testSome } from "../helpers/form.ts";
import { globalAddresses } from "../helpers/state.ts";

const bin = binDir();

const CONFIGS: Readonly<Record<string, (v: Version, families: readonly Family[]) => Conf>> = {
  bridge: (cniVersion, families) => bridgeConf(families, { cniVersion }),
  flannel: (cniVersion) => flannelConf(cniVersion),
};

const cases = Object.keys(CONFIGS).flatMap((plugin) =>
  Object.keys(STACKS).flatMap((stack) => VERSIONS.map((version) => ({ plugin, stack, version }))),
);

describe.concurrent("a pod's life", () => {
  testSome(cases, 3)("$plugin, $stack, CNI $version", async ({ plugin, stack, version }) => {
    const families = STACKS[stack] ?? [];
    const conf = CONFIGS[plugin]?.(version, families) ?? {};
    await using sandbox = await createSandbox();
    await writeSubnetEnv(sandbox, families);
    const pod = await sandbox.addPod("pod1");
    const before = await sandbox.snapshot();

    const result = await cniOk(sandbox, { bin, plugin, command: "ADD", conf });
    expectResult(result, version, families, pod.netnsPath);
    await expectPod(pod, families);

    const withResult = version >= "0.4.0" ? { ...conf, prevResult: result } : conf;
    const check = await cni(sandbox, { bin, plugin, command: "CHECK", conf: withResult });
    if (version >= "0.4.0") {
      expect(check).toMatchObject({ code: 0, stdout: "" });
    } else {
      // CHECK exists since 0.4.0.
      expect(check).toMatchObject({ code: 1, json: { code: 1 } });
    }
    for (const time of ["first", "second"]) {
      const answer = await cni(sandbox, { bin, plugin, command: "DEL", conf: withResult });
      expect(answer, `the ${time} DEL`).toMatchObject({ code: 0, stdout: "" });
    }
    expect(leftovers(before, await sandbox.snapshot())).toEqual([]);
  });
});

/** Expects a result in the shape of the config's version. */
function expectResult(
  result: CniJson,
  version: Version,
  families: readonly Family[],
  netns: string,
): void {
  expect(result.cniVersion).toBe(version);
  expect(result.dns ?? {}).toEqual({});
  if (version < "0.3.0") {
    expect(
      Object.keys(result)
        .toSorted()
        .filter((key) => key !== "dns"),
    ).toEqual(["cniVersion", ...families.map(({ family }) => `ip${family}`)].toSorted());
    for (const { family, network, gateway, prefix, pod, default: everything } of families) {
      expect(result[`ip${family}`]).toEqual({
        ip: `${pod(0)}/${prefix}`,
        gateway,
        routes: [{ dst: network }, { dst: everything, gw: gateway }],
      });
    }
    return;
  }
  const mac = expect.stringMatching(/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/);
  // Interfaces have an mtu since 1.1.0.
  const common = { mac, ...(version >= "1.1.0" ? { mtu: MTU } : {}) };
  expect(result.interfaces).toEqual([
    { name: "cni0", ...common },
    { name: expect.stringMatching(/^veth[0-9a-f]{8}$/), ...common },
    { name: "eth0", ...common, sandbox: netns },
  ]);
  expect(result.ips).toEqual(
    families.map(({ family, gateway, prefix, pod }) => ({
      ...(version < "1.0.0" ? { version: String(family) } : {}),
      interface: 2,
      address: `${pod(0)}/${prefix}`,
      gateway,
    })),
  );
  expect(result.routes).toEqual([
    ...families.map(({ network }) => ({ dst: network })),
    ...families.map(({ default: dst, gateway }) => ({ dst, gw: gateway })),
  ]);
}

async function expectPod(pod: Namespace, families: readonly Family[]): Promise<void> {
  expect(await pod.link("eth0")).toMatchObject({ mtu: MTU, operstate: "UP" });
  expect(await globalAddresses(pod, "eth0")).toEqual(
    families.map(({ pod: address, prefix }) => `${address(0)}/${prefix}`),
  );
  for (const { family, gateway, network } of families) {
    const routes = await pod.routes(family);
    expect(routes).toContainEqual(
      expect.objectContaining({ dst: "default", gateway, dev: "eth0" }),
    );
    expect(routes).toContainEqual(expect.objectContaining({ dst: network, gateway, dev: "eth0" }));
    expect(await pod.ping(gateway), `ping ${gateway}`).toBe(true);
  }
}
