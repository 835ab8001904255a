/** The bridge plugin on nodes that others have set up: bridges, sysctls, routes and MTUs that it finds. */
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import {
  binDir,
  cni,
  cniOk,
  createSandbox,
  referenceDir,
  type Conf,
  type Sandbox,
} from "../helpers/cni.ts";
import { cnitool, createInstalledNode } from "../helpers/cnitool.ts";
import { isBun, soak } from "../helpers/form.ts";
import { addressesIn, bridgeConf, DUAL_STACK, IPV4, IPV6 } from "../helpers/network.ts";
import { expectError } from "../helpers/state.ts";
import { eventually } from "../lab/eventually.ts";

const call = { bin: binDir(), plugin: "bridge" } as const;
const advertise = fileURLToPath(import.meta.resolve("../helpers/advertise.ts"));

async function addPod(sandbox: Sandbox, name: string, conf: Conf) {
  const pod = await sandbox.addPod(name);
  const attachment = { ...call, containerId: name, netns: pod.netnsPath, conf };
  const result = await cniOk(sandbox, { ...attachment, command: "ADD" });
  return { pod, attachment, result };
}

test("a bridge with all the ports that it can have is named by ADD, STATUS and doctor", async () => {
  await using node = await createInstalledNode();
  const { attachment } = await addPod(node, "pod1", bridgeConf([IPV4], { cniVersion: "1.1.0" }));
  const ports = Array.from(
    { length: 511 },
    (_, n) => `link add a${n} master cni0 type veth peer name b${n}\nlink set b${n} master cni0\n`,
  );
  await node.output("ip", ["-batch", "-"], { input: ports.join("") });
  await node.addPod("pod2");
  const pod2 = { ...attachment, containerId: "pod2", netns: "/run/netns/pod2" };
  const answer = await cni(node, { ...pod2, command: "ADD" });
  expectError(answer, 101);
  expect(answer.json?.msg).toContain("the bridge has 1023 ports, and the kernel allows no more");
  const status = await cni(node, { ...pod2, command: "STATUS" });
  expect(status.json?.msg).toContain("cni0 has 1023 ports");
  const { stdout } = await cnitool(node, ["doctor"]);
  expect(stdout).toContain("[bridge-full]");
  await cniOk(node, { ...pod2, command: "DEL" });
  await cniOk(node, { ...attachment, command: "DEL" });
  await cniOk(node, { ...pod2, command: "ADD" });
});

/** Bridges without a MAC of their own, whose MAC is that of their lowest port. */
const foreignBridges: Readonly<Record<string, string>> = {
  "never up": "ip link add cni0 type bridge",
  "without ports": "ip link add cni0 up type bridge",
  "told the MAC it had": `
    ip link add cni0 up type bridge
    ip link set cni0 address $(ip -o link show cni0 | grep -o 'ether [0-9a-f:]*' | cut -d ' ' -f 2)`,
  "whose ports have gone": `
    ip link add cni0 up type bridge
    ip link add uplink0 up master cni0 type veth peer name uplink1
    ip link set uplink1 up
    ip link delete uplink0`,
  "with an address": "ip link add cni0 up type bridge; ip addr add 10.244.1.1/24 dev cni0",
  "with a port": `
    ip link add cni0 up type bridge
    ip link add uplink0 address 8a:00:00:00:00:01 up master cni0 type veth peer name uplink1
    ip link set uplink1 up`,
  "with a port and the address": `
    ip link add cni0 up type bridge
    ip link add uplink0 address fe:ff:ff:ff:ff:01 up master cni0 type veth peer name uplink1
    ip link set uplink1 up
    ip addr add 10.244.1.1/24 dev cni0`,
};

describe.concurrent("D1: a bridge that others have made,", () => {
  test.for(Object.keys(foreignBridges))("%s, keeps its MAC for good", async (what) => {
    await using sandbox = await createSandbox();
    await sandbox.sh(foreignBridges[what] ?? "");
    const conf = bridgeConf([IPV4]);
    let before = (await sandbox.link("cni0")).address;
    const pods = [];
    for (const name of ["pod1", "pod2", "pod3"]) {
      const added = await addPod(sandbox, name, conf);
      // Without its last port it may have none.
      if (before === "00:00:00:00:00:00") before = added.result.interfaces?.[0]?.mac;
      expect(added.result.interfaces?.[0]).toMatchObject({ name: "cni0", mac: before });
      expect((await sandbox.link("cni0")).address).toBe(before);
      // One packet, at once.
      const ping = await added.pod.exec("ping", ["-n", "-c", "1", "-W", "1", IPV4.gateway]);
      expect(ping.exitCode).toBe(0);
      pods.push(added);
    }
    for (const { attachment, result } of pods) {
      const check = { ...attachment, conf: { ...conf, prevResult: result } };
      await cniOk(sandbox, { ...check, command: "CHECK" });
      // It looks for the gateway of no route but the default one.
      const routes = result.routes?.filter(({ dst }) => dst === "0.0.0.0/0");
      const reference = { ...check, bin: referenceDir(), command: "CHECK" } as const;
      const conf1 = { ...conf, prevResult: { ...result, routes } };
      expect(await cni(sandbox, { ...reference, conf: conf1 })).toMatchObject({
        code: 0,
        stdout: "",
      });
    }
    for (const { attachment } of pods) await cniOk(sandbox, { ...attachment, command: "DEL" });
    expect((await sandbox.link("cni0")).address).toBe(before);
  });
});

const readOnly = "mount --bind /proc/sys /proc/sys && mount -o remount,ro,bind /proc/sys";

describe.concurrent("D5: a /proc/sys that is read-only", () => {
  test("keeps no pod from starting where forwarding is on, and what is missing is said", async () => {
    await using sandbox = await createSandbox();
    await sandbox.sh(`
      sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
      ${readOnly}
    `);
    const { pod, attachment } = await addPod(sandbox, "pod1", bridgeConf(DUAL_STACK));
    for (const { gateway } of DUAL_STACK) expect(await pod.ping(gateway)).toBe(true);
    await cniOk(sandbox, { ...attachment, command: "DEL" });
    const again = await cni(sandbox, { ...attachment, command: "ADD" });
    expect(again.code).toBe(0);
    const lines = again.stderr.trim().split("\n");
    expect(lines).toContainEqual(expect.stringMatching(/net\.ipv4\.conf\.eth0\.arp_notify.*EROFS/));
    for (const line of lines)
      expect(line).toMatch(/^bridge: Cannot set the sysctl .* ADD goes on\.$/);
  });

  test("is fatal where the pod needs what is off, and says so", async () => {
    await using sandbox = await createSandbox();
    const pod = await sandbox.addPod("pod1");
    await pod.sh("sysctl -qw net.ipv6.conf.default.disable_ipv6=1");
    await sandbox.sh(
      `sysctl -qw net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=1; ${readOnly}`,
    );
    const attachment = { ...call, netns: pod.netnsPath };
    const cases = [
      [IPV4, /net\.ipv4\.ip_forward to 1/],
      [IPV6, /net\.ipv6\.conf\.eth0\.disable_ipv6 to 0/],
    ] as const;
    for (const [family, message] of cases) {
      const conf = bridgeConf([family]);
      const answer = await cni(sandbox, { ...attachment, conf, command: "ADD" });
      expectError(answer, 101);
      expect(answer.json?.msg).toMatch(message);
      expect(answer.json?.details).toContain("/proc/sys is read-only");
    }
  });

  test("without a gateway, nothing of the node's needs to be set", async () => {
    await using sandbox = await createSandbox();
    await sandbox.sh(`sysctl -qw net.ipv4.ip_forward=0; ${readOnly}`);
    const conf = bridgeConf([IPV4], { isGateway: false, isDefaultGateway: false });
    const { result } = await addPod(sandbox, "pod1", conf);
    expect(result.ips).toHaveLength(1);
  });
});

test("sysctls that are right already are not written", async () => {
  await using sandbox = await createSandbox();
  const { attachment } = await addPod(sandbox, "pod1", bridgeConf(DUAL_STACK));
  const pod = await sandbox.addPod("pod2");
  await pod.sh("sysctl -qw net.ipv6.conf.default.accept_dad=0");
  const trace = "/run/trace";
  const prefix = ["strace", "-f", "-qq", "-o", trace, "-e", "trace=write,openat"];
  const second = { ...attachment, containerId: "pod2", netns: pod.netnsPath, prefix };
  await cniOk(sandbox, { ...second, command: "ADD" });
  const opened = (await sandbox.sh(`grep -o '/proc/sys/net[^"]*", O_RDWR' ${trace}`)).trim();
  expect(opened.split("\n").map((line) => line.replaceAll(/^.proc.sys.net.|".*/g, ""))).toEqual([
    "ipv4/conf/eth0/arp_notify",
    "ipv6/conf/eth0/ndisc_notify",
  ]);
});

/** A router beside the node, whose advertisements the node heeds. */
async function startRouter(sandbox: Sandbox) {
  await sandbox.sh("sysctl -qw net.ipv6.conf.default.accept_dad=0");
  const router = await sandbox.addPod("router");
  await router.sh("sysctl -qw net.ipv6.conf.default.accept_dad=0");
  await sandbox.sh(`
    ip link add uplink0 type veth peer name eth0 netns router
    ip link set uplink0 up
    ip -n router link set eth0 up
  `);
  const advertised = async (): Promise<string> => {
    // The router may have no address yet.
    await router.output(process.execPath, [advertise, "eth0"]).catch(() => undefined);
    return sandbox.sh("ip -6 route show default");
  };
  /** Advertises until the node has a default route or, where it gets none, for a while. */
  const announce = async (): Promise<string> =>
    eventually(advertised, (route) => route.includes("proto ra"), 20_000);
  return { announce };
}

describe.concurrent("R11: forwarding IPv6", () => {
  test("leaves the node the default route that a router has advertised", async () => {
    await using sandbox = await createSandbox();
    const { announce } = await startRouter(sandbox);
    expect(await announce()).toContain("proto ra");
    await addPod(sandbox, "pod1", bridgeConf(DUAL_STACK));
    expect(await sandbox.sysctl("net/ipv6/conf/all/forwarding")).toBe("1");
    expect(await sandbox.sysctl("net/ipv6/conf/uplink0/accept_ra")).toBe("2");
    expect(await sandbox.sh("ip -6 route show default")).toContain("proto ra");
    // The next one is heeded too.
    await sandbox.sh("ip -6 route delete default");
    expect(await announce()).toContain("proto ra");
  });

  test("changes no link that has no such route", async () => {
    await using sandbox = await createSandbox();
    await startRouter(sandbox);
    await addPod(sandbox, "pod1", bridgeConf(DUAL_STACK));
    expect(await sandbox.sysctl("net/ipv6/conf/uplink0/accept_ra")).toBe("1");
  });

  test("without an IPv6 network does not begin", async () => {
    await using sandbox = await createSandbox();
    const { announce } = await startRouter(sandbox);
    expect(await announce()).toContain("proto ra");
    await addPod(sandbox, "pod1", bridgeConf([IPV4]));
    expect(await sandbox.sysctl("net/ipv6/conf/all/forwarding")).toBe("0");
    expect(await sandbox.sysctl("net/ipv6/conf/uplink0/accept_ra")).toBe("1");
  });
});

describe.concurrent("an MTU that is too small for IPv6", () => {
  test("in the config is named, and nothing is left", async () => {
    await using sandbox = await createSandbox();
    await sandbox.addPod("pod1");
    const conf = bridgeConf(DUAL_STACK, { mtu: 1279 });
    const answer = await cni(sandbox, { ...call, conf, command: "ADD" });
    expectError(answer, 7);
    expect(answer.json?.msg).toContain("mtu must be at least 1280 (got 1279)");
    expect(await sandbox.list("/var/lib/cni/networks/cbr0")).not.toContain("10.244.1.2");
  });

  test("of the bridge, which has that of another port, is explained", async () => {
    await using sandbox = await createSandbox();
    await sandbox.sh(`
      ip link add cni0 up type bridge
      ip link add other0 mtu 1000 up master cni0 type veth peer name other1
    `);
    await sandbox.addPod("pod1");
    const answer = await cni(sandbox, { ...call, conf: bridgeConf([IPV6]), command: "ADD" });
    expectError(answer, 101);
    expect(answer.json?.details).toContain("MTU of at least 1280 on cni0");
  });
});

/** Namespaces that come and go, with addresses that the kernel's one worker has to make routes to. */
const CROWD = `
  echo 'link add a up type veth peer b
    link set b up' > /run/addresses
  for k in 1 2 3 4 5 6 7 8; do echo "addr add fd00:$k::1/64 dev a" >> /run/addresses; done
  for n in 1 2 3 4 5 6 7 8; do
    while [ ! -e /run/enough ]; do
      ip netns add crowd$n
      ip -n crowd$n -batch /run/addresses
      ip netns del crowd$n
    done &
  done`;

describe.runIf(isBun)("an IPv6 address", () => {
  test("takes packets as soon as ADD has answered, however busy the kernel is", async () => {
    await using sandbox = await createSandbox();
    await sandbox.writeFile("/run/conf", JSON.stringify(bridgeConf(DUAL_STACK)));
    const pods = Array.from({ length: soak ? 40 : 20 }, (_, n) => `pod${n}`);
    await sandbox.addPods(pods);
    const { bin } = call;
    const output = await sandbox.sh(`
      ${CROWD}
      for pod in ${pods.join(" ")}; do
        CNI_COMMAND=ADD CNI_CONTAINERID=$pod CNI_NETNS=/run/netns/$pod CNI_IFNAME=eth0 CNI_PATH=${bin} \
          ${bin}/bridge < /run/conf > /run/result || cat /run/result
        nsenter --net=/run/netns/$pod cat /proc/net/ipv6_route > /run/routes
        grep -q '^fd00.* 80 .* eth0$' /run/routes || echo "$pod has no route to itself"
      done
      touch /run/enough
      wait`);
    expect(output).toBe("");
  });
});

test("packets from other nodes do not wait for a new bridge", async () => {
  await using sandbox = await createSandbox();
  const outside = await sandbox.addExternalHost("outside");
  await outside.sh(`ip -6 route add default via ${outside.addresses6.node}`);
  const { result } = await addPod(sandbox, "pod1", bridgeConf(DUAL_STACK));
  const address = addressesIn(result).find((text) => text.includes(":")) ?? "";
  const ping = await outside.output("ping", ["-n", "-c", "1", "-W", "8", address]);
  expect(ping).toContain("1 received");
  // The first has found the pod. One for a duplicate of the bridge's own address would be another.
  const counters = await sandbox.output("cat", ["/proc/net/dev_snmp6/cni0"]);
  expect(/^Icmp6OutNeighborSolicits\s+(\d+)$/m.exec(counters)?.[1]).toBe("1");
  expect(await sandbox.sh("ip -6 address show dev cni0")).not.toContain("tentative");
});
