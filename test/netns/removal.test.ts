/** L6, L7, D7: DEL and GC ask for no more than they need. */
import { describe, expect } from "vitest";
import { binDir, cni, createSandbox, type Conf } from "../helpers/cni.ts";
import { testSome } from "../helpers/form.ts";
import { IPV4, subnetEnv } from "../helpers/network.ts";

const PLUGINS = ["flannel", "bridge", "host-local", "loopback", "portmap"] as const;

interface Oddity {
  readonly conf?: Conf;
  readonly args?: string;
  readonly containerId?: string;
  /** Whether a line on stderr says what was done without. */
  readonly isSaid?: boolean;
}

const long = "a".repeat(255);
const oddities: Readonly<Record<string, Oddity>> = {
  "CNI_ARGS that are none": { args: "none" },
  "a semicolon at the end of CNI_ARGS": { args: "IgnoreUnknown=1;" },
  "CNI_ARGS that are senseless": { args: "=;;MAC=x;IP=y" },
  "a long id": { containerId: long },
  "a long name": { conf: { name: long } },
  "a prevResult that is a text": { conf: { prevResult: "x" }, isSaid: true },
  "a prevResult of no version": { conf: { prevResult: { cniVersion: "9.9.9" } }, isSaid: true },
  "a prevResult with wrong addresses": {
    conf: { prevResult: { ips: [{ address: "ten" }], routes: 7 } },
    isSaid: true,
  },
  "keys that nobody knows": { conf: { colour: "red", constructor: 1, toString: [] } },
  "capabilities and dns of the wrong type": {
    conf: { capabilities: { mac: "yes" }, dns: "192.0.2.53" },
    isSaid: true,
  },
  "a runtimeConfig of the wrong type": { conf: { runtimeConfig: "x" } },
  "args of the wrong type": { conf: { args: [{ cni: 7 }] } },
};

const rows = Object.keys(oddities).flatMap((oddity) =>
  PLUGINS.flatMap((plugin) =>
    (["DEL", "GC"] as const).map((command) => [command, plugin, oddity] as const),
  ),
);

describe.concurrent("what it does not need", () => {
  testSome(rows)("does not stop the %s of %s: %s", async ([command, plugin, oddity]) => {
    await using sandbox = await createSandbox();
    const pod = await sandbox.addPod("pod1");
    await sandbox.writeFile("/run/flannel/subnet.env", subnetEnv([IPV4]));
    const { conf = {}, isSaid = false, ...env } = oddities[oddity] ?? {};
    const answer = await cni(sandbox, {
      bin: binDir(),
      plugin,
      command,
      netns: pod.netnsPath,
      ...env,
      conf: {
        cniVersion: "1.1.0",
        name: "net1",
        type: plugin,
        ipam: { type: "host-local", ranges: [[{ subnet: "10.1.9.0/24" }]] },
        // Go writes an empty list like this.
        "cni.dev/valid-attachments": null,
        ...conf,
      },
    });
    expect(answer, `${answer.stdout}${answer.stderr}`).toMatchObject({ code: 0, stdout: "" });
    if (isSaid) expect(answer.stderr).toMatch(new RegExp(`${command} goes on without it\\.$`, "m"));
    expect(answer.stderr).not.toMatch(/^\s+at .*[(:]/m);
  });
});
