/** Every verb of every plugin in every CNI version: carried out if the version has it, else refused. */
import { describe, expect, test } from "vitest";
import { binDir, cni, cniOk, createSandbox, leftovers, type Conf } from "../helpers/cni.ts";
import {
  bridgeConf,
  flannelConf,
  hostLocalConf,
  IPV4,
  VERSIONS,
  writeSubnetEnv,
  type Version,
} from "../helpers/network.ts";
import { expectError } from "../helpers/state.ts";

const bin = binDir();
const RANGES = { ranges: [[{ subnet: IPV4.subnet }]] };
const ADDRESS = `${IPV4.pod(0)}/${IPV4.prefix}`;

/** The result of the plugin before portmap, in the version's shape. */
function resultBefore(cniVersion: Version): Conf {
  if (cniVersion < "0.3.0") return { cniVersion, ip4: { ip: ADDRESS } };
  const version = cniVersion < "1.0.0" ? { version: "4" } : {};
  const interfaces = [{ name: "eth0", sandbox: "/run/netns/pod1" }];
  return { cniVersion, interfaces, ips: [{ ...version, interface: 0, address: ADDRESS }] };
}

const CONFIGS: Readonly<Record<string, (cniVersion: Version) => Conf>> = {
  flannel: (cniVersion) => flannelConf(cniVersion),
  bridge: (cniVersion) => bridgeConf([IPV4], { cniVersion }),
  "host-local": (cniVersion) => hostLocalConf(RANGES, { cniVersion }),
  loopback: (cniVersion) => ({ cniVersion, name: "lo", type: "loopback" }),
  portmap: (cniVersion) => ({
    cniVersion,
    name: "cbr0",
    type: "portmap",
    prevResult: resultBefore(cniVersion),
    runtimeConfig: { portMappings: [{ hostPort: 8080, containerPort: 80, protocol: "tcp" }] },
  }),
};

/** The first version with a verb. */
const SINCE = { CHECK: "0.4.0", GC: "1.1.0", STATUS: "1.1.0" } as const;
const VALID = { "cni.dev/valid-attachments": [{ containerID: "pod1", ifname: "eth0" }] };

const cases = Object.keys(CONFIGS).flatMap((plugin) =>
  VERSIONS.map((version) => ({ plugin, version })),
);

describe.concurrent("every verb", () => {
  test.for(cases)("of $plugin in CNI $version", async ({ plugin, version }) => {
    const conf = CONFIGS[plugin]?.(version) ?? {};
    await using sandbox = await createSandbox();
    await sandbox.addPod("pod1");
    await writeSubnetEnv(sandbox, [IPV4]);
    const before = await sandbox.snapshot();
    const call = { bin, plugin } as const;

    const all = await cniOk(sandbox, { ...call, command: "VERSION", conf });
    expect(all.supportedVersions).toEqual(VERSIONS);
    const prevResult = await cniOk(sandbox, { ...call, command: "ADD", conf });
    expect(prevResult.cniVersion).toBe(version);
    // Versions with CHECK pass the result of ADD to CHECK and DEL.
    const kept = version >= SINCE.CHECK ? { ...conf, prevResult } : conf;
    // CHECK comes last, to see whether GC has kept what is valid.
    for (const command of ["STATUS", "GC", "CHECK"] as const) {
      const given = command === "CHECK" ? kept : command === "GC" ? { ...conf, ...VALID } : conf;
      const answer = await cni(sandbox, { ...call, command, conf: given });
      if (version >= SINCE[command]) expect(answer, command).toMatchObject({ code: 0, stdout: "" });
      else expectError(answer, 1);
    }
    for (const time of ["first", "second"]) {
      const answer = await cni(sandbox, { ...call, command: "DEL", conf: kept });
      expect(answer, `the ${time} DEL`).toMatchObject({ code: 0, stdout: "" });
    }
    expect(leftovers(before, await sandbox.snapshot())).toEqual([]);
    if (version < SINCE.CHECK) return;
    const late = await cni(sandbox, { ...call, command: "CHECK", conf: kept });
    expectError(late, 105);
  });
});
