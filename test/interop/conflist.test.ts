/** A conflist with plugins of ours and of the reference: each reads the other's result. */
import { expect, test } from "vitest";
import {
  binDir,
  createSandbox,
  leftovers,
  referenceDir,
  runConflist,
  type Conflist,
} from "../helpers/cni.ts";
import { DUAL_STACK, flannelConf, writeSubnetEnv } from "../helpers/network.ts";

test.for(["0.3.1", "0.4.0", "1.0.0"])(
  "flannel, then the reference's tuning and portmap, in CNI %s",
  async (cniVersion) => {
    const conflist: Conflist = {
      name: "cbr0",
      cniVersion,
      plugins: [
        { ...flannelConf(cniVersion), type: "flannel" },
        { type: "tuning", sysctl: { "net.ipv4.conf.eth0.arp_notify": "1" } },
        { type: "portmap", capabilities: { portMappings: true } },
      ],
    };
    await using sandbox = await createSandbox();
    await writeSubnetEnv(sandbox, DUAL_STACK);
    const pod = await sandbox.addPod("pod1");
    const bin = "/opt/cni/bin";
    await sandbox.sh(`
      mkdir -p ${bin}
      ln -s ${binDir()}/flannel ${bin}/
      ln -s ${referenceDir()}/tuning ${referenceDir()}/portmap ${bin}/
    `);
    const before = await sandbox.snapshot();
    const portMappings = [{ hostPort: 8080, containerPort: 80, protocol: "tcp" }];
    const call = { bin, conflist, runtimeConfig: { portMappings } };

    const prevResult = await runConflist(sandbox, { ...call, command: "ADD" });
    expect(prevResult).toMatchObject({ cniVersion, interfaces: [{}, {}, { name: "eth0" }] });
    expect(await sandbox.iptablesSave()).toContain("--to-destination 10.244.1.2:80");
    expect(await pod.sysctl("net/ipv4/conf/eth0/arp_notify")).toBe("1");

    const kept = { ...call, prevResult };
    if (cniVersion >= "0.4.0") {
      // The reference's portmap 1.1 fails to CHECK a mapping for any host address.
      const plugins = conflist.plugins.filter(({ type }) => type !== "portmap");
      await runConflist(sandbox, { ...kept, conflist: { ...conflist, plugins }, command: "CHECK" });
    }
    for (let time = 0; time < 2; time++) await runConflist(sandbox, { ...kept, command: "DEL" });
    const rest = leftovers(before, await sandbox.snapshot());
    // The reference's portmap never removes its chains, nor tuning its folder.
    expect(rest.filter((line) => !/CNI-HOSTPORT|\/run\/cni\/tuning/.test(line))).toEqual([]);
  },
);
