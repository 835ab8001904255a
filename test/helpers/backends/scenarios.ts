/** The suite that every backend passes: what a node tells, carries, keeps and leaves. */
import { setTimeout } from "node:timers/promises";
import { expect } from "vitest";
import { podAddress, untilSo, type BackendLab, type BackendNode } from "./lab.ts";
import { lostDuring, pairOf, reach } from "./pings.ts";
import { overlayScript } from "../overlay_cluster.ts";
import type { BackendRow } from "./rows.ts";

type Scenario = (lab: BackendLab, row: BackendRow) => Promise<void>;

/** Each leaves the nodes as it has found them, but for the last. */
export const scenarios: Readonly<Record<string, Scenario>> = {
  "tells what flannel tells": async (lab, row) => {
    const [first] = pairOf(lab);
    const expected =
      lab.store === "etcd" ? await etcdValue(first, row) : await annotations(first, row);
    expect((await first.told()).replaceAll(/[\w+/]{43}=/g, "KEY")).toBe(expected);
  },

  "connects all pods": async ({ nodes }, row) => {
    const [first] = nodes;
    expect(await routesOf(first)).toEqual(row.routes);
    for (const from of nodes) {
      for (const to of nodes.filter((node) => node !== from)) {
        for (const family of row.families) await reach(from, podAddress(to.number, family));
      }
    }
    for (const [device, endpoint] of Object.entries(row.endpoints ?? {})) {
      const text = (await first?.sh(`wg show ${device} endpoints`)) ?? "";
      expect(text.trim().split("\t").slice(1)).toEqual([endpoint]);
    }
  },

  "lets the longest packets pass, and answers longer ones": async (lab, row) => {
    const [first, far] = pairOf(lab);
    expect(await first.sh(`cat ${first.subnetFile}`)).toContain(`FLANNEL_MTU=${row.mtu.pods}\n`);
    for (const family of row.families) {
      const { [family]: mtu = 0 } = row.mtu;
      const { [family]: device } = row.devices ?? {};
      if (device !== undefined) {
        expect(await first.sh(`ip link show ${device}`)).toContain(` mtu ${mtu} `);
      }
      const headers = family === 4 ? 28 : 48;
      const ping = async (bytes: number) =>
        first.pod(
          `ping -n -c 1 -W 5 -M do -s ${bytes - headers} ${podAddress(far.number, family)} 2>&1 || true`,
        );
      expect(await ping(mtu)).toContain("ttl=");
      expect(await ping(mtu + 1)).toMatch(new RegExp(`mtu ?= ?${mtu}\\b`));
    }
  },

  "loses nothing while flanneld is started anew": async (lab, row) => {
    await restart(lab, row, "SIGTERM");
  },

  "loses nothing while flanneld is killed and started": async (lab, row) => {
    await restart(lab, row, "SIGKILL");
  },

  "puts right what something else has changed": async (lab, row) => {
    const [first, far] = pairOf(lab);
    const before = await overlay(first);
    for (const drift of row.drifts) {
      await first.sh(drift);
      await untilSo(first, `the repair after ${drift}`, async () => {
        return (await overlay(first)) === before;
      });
      for (const family of row.families) await reach(first, podAddress(far.number, family));
    }
    // Nor does it touch what is right, or what is not its own.
    await setTimeout(200);
    expect(await overlay(first)).toBe(before);
  },

  "leaves nothing behind when it is cleaned up": async (lab, row) => {
    const [first, far] = pairOf(lab);
    const foreign = await first.sh(foreignScript);
    await first.end("SIGTERM");
    await first.cleanup();
    expect((await first.sh("ip -o link")).includes("flannel")).toBe(false);
    expect(await routesOf(first)).toEqual([]);
    expect(await first.sh("nft list ruleset 2>/dev/null || true")).not.toMatch(/flannel/i);
    expect(await first.sh(`ls -A ${first.subnetFile.replace(/\/[^/]*$/, "")}`)).toBe("");
    expect(await first.sh(foreignScript)).toBe(foreign);
    await first.start();
    for (const family of row.families) await reach(first, podAddress(far.number, family));
  },
};

/** Routes that an administrator has made. */
const foreignScript = "ip route show proto static; ip -6 route show proto static";

async function restart(
  lab: BackendLab,
  { families, losesWhileDown = false }: BackendRow,
  signal: "SIGTERM" | "SIGKILL",
): Promise<void> {
  const [first, far] = pairOf(lab);
  const before = await overlay(first);
  const targets = families.map((family) => podAddress(far.number, family));
  const { lost, downtime } = await lostDuring(lab, first, targets, async () => {
    const began = performance.now();
    await first.end(signal);
    await setTimeout(100);
    await first.start();
    return performance.now() - began;
  });
  expect(lost, `lost in ${downtime} ms`).toBeLessThanOrEqual(
    losesWhileDown ? downtime / lab.pingInterval : 0,
  );
  expect(await overlay(first)).toBe(before);
}

async function overlay({ sh }: BackendNode): Promise<string> {
  return sh(`${overlayScript}; ${foreignScript}; ip route show 10.244.99.0/24`);
}

async function routesOf(node: BackendNode | undefined): Promise<string[]> {
  const text = (await node?.sh("ip route show proto 70; ip -6 route show proto 70")) ?? "";
  return text
    .split("\n")
    .map((line) => line.replace(/ linkdown/, "").trim())
    .filter((line) => line !== "");
}

async function withMacs({ sh }: BackendNode, { told, devices }: BackendRow) {
  const macOf = async (device: string | undefined): Promise<string> =>
    device === undefined ? "" : (/ether (\S+)/.exec(await sh(`ip link show ${device}`))?.[1] ?? "");
  const [mac4, mac6] = [await macOf(devices?.[4]), await macOf(devices?.[6])];
  return {
    data: told.data?.replace("MAC4", mac4),
    dataV6: told.dataV6?.replace("MAC6", mac6),
  };
}

/** The node's annotations without their prefix, sorted. */
async function annotations(node: BackendNode, row: BackendRow): Promise<string> {
  const { data = "null", dataV6 = "null" } = await withMacs(node, row);
  const isDual = row.families.includes(6);
  return JSON.stringify({
    "backend-data": data,
    "backend-type": row.told.type,
    ...(isDual ? { "backend-v6-data": dataV6 } : {}),
    "kube-subnet-manager": "true",
    "public-ip": `10.77.0.1${node.number}`,
    ...(isDual ? { "public-ipv6": `fd77::1${node.number}` } : {}),
  });
}

async function etcdValue(node: BackendNode, row: BackendRow): Promise<string> {
  const { data, dataV6 } = await withMacs(node, row);
  const isDual = row.families.includes(6);
  const fields = [
    `"PublicIP":"10.77.0.1${node.number}"`,
    `"PublicIPv6":${isDual ? `"fd77::1${node.number}"` : "null"}`,
    ...(row.told.type === "" ? [] : [`"BackendType":"${row.told.type}"`]),
    ...(data === undefined ? [] : [`"BackendData":${data}`]),
    ...(isDual && dataV6 !== undefined ? [`"BackendV6Data":${dataV6}`] : []),
  ];
  return `{${fields.join(",")}}`;
}
