/** L6, L9, S4: whatever is in the place of portmap's files, a pod's host ports go with it. */
import { describe, expect } from "vitest";
import { cni, cniOk, runConflist, type CniAnswer, type Sandbox } from "../helpers/cni.ts";
import { testSome } from "../helpers/form.ts";
import { DUAL_STACK } from "../helpers/network.ts";
import {
  addMappedPod,
  addPortmap,
  BACKENDS,
  containerRules,
  createNode,
  IPTABLES_NFT,
  NFTABLES,
  portmapCall,
  records,
  resultFor,
  type Backend,
  type PortmapCall,
} from "../helpers/portmap.ts";
import { expectError } from "../helpers/state.ts";

const FOLDER = "/run/flannel-cni/portmap";

/** Shell commands that put something there. */
const INTRUDERS: Readonly<Record<string, string>> = {
  "a FIFO": "mkfifo $PLACE",
  "an empty folder": "mkdir $PLACE",
  "a folder with a file": "mkdir $PLACE; : > $PLACE/file",
  "a link to a device": "ln -s /dev/zero $PLACE",
  "a link to itself": "ln -s $PLACE $PLACE",
  "gigabytes of nothing": "truncate -s 3G $PLACE",
  "an empty file": ": > $PLACE",
  "half a file": "head -c 20 /run/was > $PLACE",
};

const full = "a folder with a file";

/** Replaces all files that a glob matches. */
async function replace(node: Sandbox, glob: string, intruder: string): Promise<void> {
  const put = INTRUDERS[intruder] ?? "false";
  await node.sh(`set -e; for PLACE in $GLOB; do mv $PLACE /run/was; ${put}; done`, {
    env: { GLOB: `${FOLDER}/${glob}` },
  });
}

/** GC, for which these pods exist. */
async function gc(
  node: Sandbox,
  pod: PortmapCall,
  valid: readonly string[] = [],
): Promise<CniAnswer> {
  const attachments = valid.map((containerID) => ({ containerID, ifname: "eth0" }));
  const conf = { ...pod.conf, cniVersion: "1.1.0", "cni.dev/valid-attachments": attachments };
  return cni(node, { ...pod, command: "GC", conf });
}

const backends = Object.fromEntries([IPTABLES_NFT, NFTABLES].map((each) => [each.backend, each]));

function cases(globs: readonly string[]): [glob: string, intruder: string, backend: string][] {
  return globs.flatMap((glob) =>
    Object.keys(INTRUDERS).flatMap((intruder) =>
      Object.keys(backends).map((backend): [string, string, string] => [glob, intruder, backend]),
    ),
  );
}

function named(backend: string): Backend {
  const found = BACKENDS.find((each) => each.backend === backend);
  if (found === undefined) throw new Error(`no backend ${backend}`);
  return found;
}

describe.concurrent("DEL and GC", () => {
  testSome(
    cases(["containers/*", "ids/*", "ports/*", "links/*"]),
    32,
    16,
  )("remove the rules of a pod where %s is %s (%s)", async ([glob, intruder, name]) => {
    const backend = named(name);
    for (const verb of ["DEL", "GC"] as const) {
      await using node = await createNode(backend);
      const pod = await addMappedPod(node, backend, "pod1");
      await replace(node, glob, intruder);
      const answer =
        verb === "DEL"
          ? await cni(node, { ...pod.portmap, command: "DEL" })
          : await gc(node, pod.portmap);
      expect(answer.code, answer.stdout).toBe(0);
      expect(await containerRules(node, backend), verb).toEqual([]);
      const files = await node.sh(`find ${FOLDER} -mindepth 2`);
      if (intruder === full) {
        expect(answer.stderr).toContain(`rm -r ${FOLDER}/`);
      } else {
        expect(files, verb).toBe("");
      }
      // The pod comes again.
      await node.sh(`rm -rf ${FOLDER}/${glob}`);
      await cniOk(node, { ...pod.portmap, command: "ADD" });
      await cniOk(node, { ...pod.portmap, command: "DEL" });
      expect(await records(node)).toEqual([]);
      await runConflist(node, pod.conflist);
    }
  });
});

describe.concurrent("a host port", () => {
  testSome(
    Object.keys(INTRUDERS).flatMap((intruder) =>
      Object.keys(backends).map((backend): [string, string] => [intruder, backend]),
    ),
    8,
    2,
  )("stays its pod's, and others are mapped, where files are %s (%s)", async ([intruder, name]) => {
    const backend = named(name);
    await using node = await createNode(backend);
    const first = await addMappedPod(node, backend, "pod1");
    const rules = await containerRules(node, backend);
    for (const glob of ["ports/*", "links/*", "ids/*", "containers/*"]) {
      await replace(node, glob, intruder);
      await node.addPod("pod2");
      const taken = portmapCall(backend, "pod2", resultFor("pod2", DUAL_STACK, 1));
      expectError(await cni(node, { ...taken, command: "ADD" }), 102);
      expect(await gc(node, first.portmap, ["pod1"])).toMatchObject({ code: 0 });
      expect(await containerRules(node, backend)).toEqual(rules);
      const mappings = [{ hostPort: 9090, containerPort: 80, protocol: "tcp" }];
      const free = await addPortmap(node, backend, "pod2", { mappings }, 1);
      await cniOk(node, { ...free, command: "DEL" });
      expect(await containerRules(node, backend)).toEqual(rules);
      await node.sh(`rm -rf ${FOLDER}/${glob}`);
      await cniOk(node, { ...first.portmap, command: "ADD" });
      await node.sh("ip netns delete pod2");
    }
    await runConflist(node, first.conflist);
    expect(await containerRules(node, backend)).toEqual([]);
  });
});
