/** portmap and the reference: each checks and deletes what the other made. */
import { describe, expect, test } from "vitest";
import { testSome } from "../helpers/form.ts";
import { binDir, cni, cniOk, referenceDir } from "../helpers/cni.ts";
import { IPV4, IPV6 } from "../helpers/network.ts";
import {
  addPortmap,
  createNode,
  IPTABLES_LEGACY,
  IPTABLES_NFT,
  natTable,
  portmapCall,
  resultFor,
  WEB_AND_DNS,
} from "../helpers/portmap.ts";

const plugins = { ours: binDir(), reference: referenceDir() };
// The reference's CHECK fails on dual stack: it looks for each family's rules in the other one too.
const cases = [IPTABLES_NFT, IPTABLES_LEGACY].flatMap((backend) =>
  [[IPV4], [IPV6]].flatMap((families) =>
    (["ours", "reference"] as const).map((maker) => {
      const names = families.map(({ family }) => `IPv${family}`).join();
      return { ...backend, families, maker, names };
    }),
  ),
);

describe.concurrent("portmap and the reference", () => {
  testSome(cases)("made by $maker ($backend, $names)", async ({ families, maker, ...backend }) => {
    await using node = await createNode(backend);
    await node.addPod("pod1");
    const taker = maker === "ours" ? "reference" : "ours";
    const [family] = families;
    const call = portmapCall(backend, "pod1", resultFor("pod1", families), { families });
    await cniOk(node, { ...call, bin: plugins[maker], command: "ADD" });
    const number = family === IPV4 ? 4 : 6;
    expect(await natTable(node, backend, number)).toContain("CNI-DN-");
    // ip6tables-legacy confuses rules of different ports, so the reference makes too few.
    const isBroken = backend.backend === "iptables-legacy" && number === 6 && maker === "reference";
    // The reference's CHECK looks in both families' tables, even if the pod has one.
    if (taker === "ours" && !isBroken) {
      await cniOk(node, { ...call, bin: plugins[taker], command: "CHECK" });
    }
    for (let time = 0; time < 2; time++) {
      await cniOk(node, { ...call, bin: plugins[taker], command: "DEL" });
      for (const ipFamily of [4, 6] as const) {
        expect(await natTable(node, backend, ipFamily)).not.toContain("CNI-DN-");
      }
    }
    // The maker's record of it does not stop the next pod.
    const next = portmapCall(backend, "pod2", resultFor("pod2", families, 1), {
      families,
      mappings: WEB_AND_DNS,
    });
    await node.removePod("pod1");
    await node.addPod("pod2");
    await cniOk(node, { ...next, bin: plugins.ours, command: "ADD" });
    await cniOk(node, { ...next, bin: plugins.ours, command: "CHECK" });
    await cniOk(node, { ...next, bin: plugins.ours, command: "DEL" });
  });

  const checks = [
    { family: IPV4, program: "iptables", hostIP: "192.0.2.1" },
    { family: IPV6, program: "ip6tables", hostIP: "2001:db8::1" },
  ].flatMap((row) => ["nft", "legacy"].map((kind) => ({ ...row, kind })));
  test.for(checks)("the reference's CHECK finds ours ($program-$kind)", async (row) => {
    const { family, program, hostIP, kind } = row;
    await using node = await createNode(IPTABLES_NFT);
    // It looks for every rule in both families, unless the node has only one family's tools.
    await node.sh(`
      mkdir -p /opt/cni/one
      for part in "" -save -restore; do
        ln -s "$(command -v ${program}-${kind}$part)" "/opt/cni/one/${program}$part"
      done
    `);
    const env = { PATH: "/opt/cni/one" };
    const families = [family];
    const mappings = [
      { hostPort: 8080, containerPort: 80, protocol: "tcp" },
      { hostPort: 8053, containerPort: 53, protocol: "udp", hostIP },
    ];
    const backend = { ...IPTABLES_NFT, conf: {}, env };
    const call = await addPortmap(node, backend, "pod1", { families, mappings });
    await cniOk(node, { ...call, bin: plugins.reference, command: "CHECK" });
    const number = family.family;
    const rule = (await natTable(node, backend, number))
      .split("\n")
      .find((line) => line.startsWith("-A CNI-DN-") && line.includes("DNAT"));
    const input = `*nat\n${rule?.replace("-A", "-D")}\nCOMMIT\n`;
    await node.output(`${program}-restore`, ["--noflush"], { env, input });
    const answer = await cni(node, { ...call, bin: plugins.reference, command: "CHECK" });
    expect(answer.code, "it sees what is missing").toBe(1);
    await cniOk(node, { ...call, bin: plugins.reference, command: "DEL" });
    expect(await natTable(node, backend, number)).not.toContain("CNI-DN-");
  });
});
