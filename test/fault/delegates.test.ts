/** Other programs misbehave: delegates, IPAM plugins, and the firewall's tools under bridge. */
import { describe, expect, test } from "vitest";
import { leftovers } from "../lab/leftovers.ts";
import { binDir, cni, cniOk, createSandbox } from "../helpers/cni.ts";
import { bridgeConf, flannelConf, IPV4, writeSubnetEnv } from "../helpers/network.ts";
import { expectError } from "../helpers/state.ts";
import { soak, testSome } from "../helpers/form.ts";

const bin = binDir();
const FAKES = "/opt/cni/fakes";

/** What a plugin does instead of its work, and the expected error. */
const MISBEHAVIOURS: Readonly<Record<string, { script: string; codes: readonly number[] }>> = {
  hangs: { script: "exec sleep 60", codes: [11] },
  "hangs with a child that holds its pipes": { script: "sleep 60 & exec sleep 60", codes: [11] },
  "prints garbage": { script: "echo 'no JSON'", codes: [106] },
  "prints nothing": { script: "exit 0", codes: [106] },
  "prints JSON that is no result": { script: "echo '[1,2]'", codes: [106] },
  "prints a result of nonsense": { script: `echo '{"ips":[{"address":7}]}'`, codes: [106] },
  "fails without JSON": { script: "echo oops >&2; exit 3", codes: [106] },
  "fails with a code of its own": {
    script: `echo '{"cniVersion":"1.0.0","code":150,"msg":"mine"}'; exit 1`,
    codes: [150],
  },
  "prints 100 MB": { script: "head -c 100000000 /dev/zero | tr '\\0' x", codes: [106] },
  "prints 100 MB on stderr": { script: "head -c 100000000 /dev/zero >&2; exit 1", codes: [106] },
  "is killed": { script: "kill -9 $$", codes: [106] },
  "does not read its stdin": { script: "exec 0<&-; exit 1", codes: [106] },
};

const cases = Object.entries(MISBEHAVIOURS).flatMap(([what, misbehaviour]) =>
  ["flannel", "bridge"].map((plugin) => ({ plugin, what, ...misbehaviour })),
);

describe.concurrent("a plugin that is called", () => {
  testSome(cases)("by $plugin and $what", async ({ plugin, script, codes }) => {
    await using node = await createSandbox();
    await writeSubnetEnv(node, [IPV4]);
    await node.addPod("pod1");
    await node.writeFile(`${FAKES}/odd`, `#!/bin/sh\n${script}\n`, 0o755);
    const before = await node.snapshot();
    const conf =
      plugin === "flannel"
        ? flannelConf("1.0.0", { delegate: { type: "odd" } })
        : { ...bridgeConf([IPV4]), ipam: { type: "odd" } };
    const extraEnv = { FLANNEL_CNI_DELEGATE_TIMEOUT: "1" };
    const call = { bin, plugin, path: FAKES, conf, extraEnv };
    const answer = await cni(node, { ...call, command: "ADD" });
    expectError(answer, codes);
    expect(answer.stdout.length + answer.stderr.length).toBeLessThan(5000);
    expect(answer.ms).toBeLessThan(15_000);
    const left = leftovers(before, await node.snapshot());
    // Processes that a delegate started are killed with it.
    expect(left).toEqual([]);
  });
});

/** The firewall's tools when bridge masquerades. */
const TOOLS: Readonly<Record<string, { script: string; codes: readonly number[]; ms: number }>> = {
  fail: { script: "cat >/dev/null; echo broken >&2; exit 1", codes: [100], ms: 10_000 },
  "say that the lock is held": { script: "cat >/dev/null; exit 4", codes: [11], ms: 10_000 },
  hang: { script: "exec sleep 60", codes: [11], ms: 30_000 },
  "are killed": { script: "kill -9 $$", codes: [100], ms: 10_000 },
};

// Waiting for a tool that hangs takes most of a minute, so only the long form does it.
const tools = Object.entries(TOOLS).filter(([what]) => soak || what !== "hang");

describe.concurrent("the firewall's tools", () => {
  test.for(tools)("%s: ADD is undone, and DEL goes on", async ([, fault]) => {
    const { script, codes, ms } = fault;
    await using node = await createSandbox();
    await node.addPod("pod1");
    const before = await node.snapshot();
    for (const tool of ["iptables-restore", "ip6tables-restore", "nft"]) {
      await node.writeFile(`${FAKES}/${tool}`, `#!/bin/sh\n${script}\n`, 0o755);
    }
    const conf = { ...bridgeConf([IPV4]), ipMasq: true };
    const extraEnv = { PATH: `${FAKES}:/usr/sbin:/usr/bin:/sbin:/bin` };
    const call = { bin, plugin: "bridge", conf };
    const answer = await cni(node, { ...call, extraEnv, command: "ADD" });
    expectError(answer, codes);
    // Once for the change, and once to see whether there is anything to undo.
    expect(answer.ms).toBeLessThan(2 * ms);
    await node.sh(`rm -r ${FAKES}`);
    expect(leftovers(before, await node.snapshot())).toEqual([]);
    await cniOk(node, { ...call, command: "ADD" });
    await cniOk(node, { ...call, command: "DEL" });
    expect(leftovers(before, await node.snapshot())).toEqual([]);
  });
});
