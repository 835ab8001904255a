/** cnitool doctor: faults planted one at a time on a node that was healthy. */
import { describe, expect, test } from "vitest";
import { isBun, isWhole, testSome } from "../helpers/form.ts";
import { binDir, referenceDir, type Sandbox } from "../helpers/cni.ts";
import {
  addByTool,
  cnitool,
  cnitoolOk,
  createInstalledNode,
  flannelConflist,
} from "../helpers/cnitool.ts";
import { FAULTS, type Fault } from "../helpers/faults.ts";
import { IPV4 } from "../helpers/network.ts";
import { BACKENDS, useBackend } from "../helpers/portmap.ts";

interface Finding {
  readonly id: string;
  readonly severity: "warning" | "error";
  readonly what: string;
  readonly means: string;
  readonly fix: string;
}

/** A node with two pods that nothing is wrong with. */
async function healthyNode(): Promise<Sandbox> {
  const node = await createInstalledNode();
  await addByTool(node, "pod1", 8080);
  await addByTool(node, "pod2");
  return node;
}

async function examine(node: Sandbox, env = {}): Promise<[number, readonly Finding[]]> {
  const { status, stdout, stderr } = await cnitool(node, ["doctor", "--json"], env);
  expect(stderr).toBe("");
  return [status, JSON.parse(stdout) as Finding[]];
}

/** The same from its text for people. */
async function report(node: Sandbox, env = {}): Promise<[number, readonly Finding[]]> {
  const { status, stdout, stderr } = await cnitool(node, ["doctor"], env);
  expect(stderr).toBe("");
  const findings = Array.from(
    stdout.matchAll(/^(warning|error): (.*) \[(\S+)\]\n {2}(.*)\n {2}Fix: (.*)\n$/gm),
    ([, severity, what = "", id = "", means = "", fix = ""]): Finding => ({
      ...{ id, severity: severity === "error" ? severity : "warning", what, means, fix },
    }),
  );
  const counts = ["error", "warning"].map((severity) => {
    const count = findings.filter((finding) => finding.severity === severity).length;
    return `${count} ${severity}${count === 1 ? "" : "s"}`;
  });
  expect(stdout.trimEnd().split("\n").at(-1)).toBe(counts.join(", "));
  return [status, findings];
}

function idsIn(findings: readonly Finding[]): readonly string[] {
  return findings.map(({ id }) => id).toSorted();
}

function idsOf(faults: readonly Fault[]): readonly string[] {
  return faults.flatMap(({ id, also = [] }) => [id, ...also]).toSorted();
}

/** The faults that are planted on one node: those that say so together, and each of the rest alone. */
function faultsByNode(): readonly { readonly names: string; readonly faults: readonly Fault[] }[] {
  const groups = Object.values(Object.groupBy(FAULTS, ({ node, name }) => node ?? name));
  return groups.flatMap((faults = []) => {
    const names = faults.map(({ name, id }) => `${name} (${id})`).join("; ");
    return [{ names, faults }];
  });
}

describe.concurrent("a healthy node", () => {
  testSome(
    BACKENDS,
    4,
    2,
  )("has nothing to be said of ($backend)", async (backend) => {
    const { env, conf } = backend;
    const [flannel, portmap] = flannelConflist()["plugins"] as object[];
    const plugins = [flannel, { ...portmap, ...conf }];
    await using node = await createInstalledNode(flannelConflist({ plugins }));
    await useBackend(node, backend);
    // Before the first pod, too.
    expect(await cnitoolOk(node, ["doctor"], env)).toBe("");
    await addByTool(node, "pod1", 8080, env);
    await addByTool(node, "pod2", undefined, env);
    const before = await node.snapshot();
    expect(await cnitoolOk(node, ["doctor"], env)).toBe("");
    expect(await examine(node, env)).toEqual([0, []]);
    expect(await node.snapshot()).toEqual(before);
    for (const pod of ["pod1", "pod2"]) {
      const args = ["del", "--container-id", pod, "cbr0", `/run/netns/${pod}`];
      await node.exec("/opt/cni/bin/cnitool", args, { env });
      // Without ports, the kernel sets the bridge's MTU back to its default.
      expect(await cnitoolOk(node, ["doctor"], env)).toBe("");
    }
  });

  test.for(["0.2.0", "0.3.1", "0.4.0", "1.1.0"])("of CNI %s", async (cniVersion) => {
    await using node = await createInstalledNode(flannelConflist({ cniVersion }));
    await addByTool(node, "pod1", 8080);
    expect(await cnitoolOk(node, ["doctor"])).toBe("");
  });

  test("with links that have no MAC", async () => {
    await using node = await createInstalledNode(flannelConflist());
    await node.sh(`
      ip tuntap add tun0 mode tun
      ip address add 10.8.0.1/24 dev tun0
      ip link set tun0 up
    `);
    await addByTool(node, "pod1", 8080);
    expect(await cnitoolOk(node, ["doctor"])).toBe("");
    expect(await cnitoolOk(node, ["ps"])).toContain("pod1");
    expect(await cnitoolOk(node, ["repair"])).toBe("No rule is missing.\n");
  });

  test("of IPv4 alone, with the bridge plugin of its own", async () => {
    const bridge = {
      ...{ type: "bridge", bridge: "br1", isGateway: true, ipMasq: true },
      ipam: { type: "host-local", ranges: [[{ subnet: IPV4.subnet }]] },
    };
    await using node = await createInstalledNode(flannelConflist({ plugins: [bridge] }));
    await addByTool(node, "pod1");
    expect(await cnitoolOk(node, ["doctor"])).toBe("");
  });

  test("as the faults below are planted on", async () => {
    await using node = await healthyNode();
    expect(await examine(node)).toEqual([0, []]);
  });

  test("whose runtime keeps no results", async () => {
    await using node = await healthyNode();
    await node.remove("/var/lib/cni/results");
    await node.sh("touch -d '1 hour ago' /var/lib/cni/networks/cbr0/10.*");
    expect(await cnitoolOk(node, ["doctor"])).toBe("");
  });

  test("with the reference's plugins", async () => {
    await using node = await createInstalledNode(
      flannelConflist({
        plugins: [{ type: "bridge", ipam: { type: "host-local", subnet: IPV4.subnet } }],
      }),
    );
    await node.sh(
      `cd /opt/cni/bin; for name in bridge host-local loopback; do ln -sf ${referenceDir()}/$name .; done`,
    );
    await addByTool(node, "pod1");
    expect(await examine(node)).toEqual([0, []]);
  });
});

describe.concurrent("doctor finds it when", () => {
  testSome(faultsByNode(), 9)("$names", async ({ faults }) => {
    await using node = await healthyNode();
    for (const { plant } of faults) {
      await (typeof plant === "string" ? node.sh(plant) : plant(node));
    }
    const [status, findings] = await report(node);
    expect(idsIn(findings), JSON.stringify(findings)).toEqual(idsOf(faults));
    const fixes = faults.map(({ id, severity, message, isFixed }) => {
      const found = findings.find((finding) => finding.id === id && finding.what.includes(message));
      expect(found, `${message} in ${JSON.stringify(findings)}`).toMatchObject({
        severity,
        means: expect.stringMatching(/\.$/),
        fix: expect.stringMatching(/\S/),
      });
      return isFixed === true ? (found?.fix ?? "") : "";
    });
    const isError = findings.some((finding) => finding.severity === "error");
    expect(status).toBe(isError ? 2 : 1);

    // As it stands there.
    const commands = fixes.map((fix) => fix.replace(/ --dry-run \(.*\)$|(?<=\S) \(or .*\)$/, ""));
    if (commands.join("") === "") return;
    await node.sh(`PATH=/opt/cni/bin:$PATH; ${commands.join("\n")}`);
    expect(idsIn((await examine(node))[1])).toEqual(
      idsOf(faults.filter((fault) => !fault.isFixed)),
    );
  });

  test("there is no tool for the firewall, and says what it could not see (no-firewall-tool)", async () => {
    await using node = await healthyNode();
    const env = { PATH: "/run/empty" };
    const [status, findings] = await examine(node, env);
    expect(status).toBe(2);
    expect(await report(node, env)).toEqual([status, findings]);
    expect(findings.map(({ id }) => id)).toContain("no-firewall-tool");
  });

  test.for([
    ["/opt/cni/bin/cnitool", ""],
    ["/opt/cni/bin/flannel", "cnitool"],
  ] as const)("what it advises can be run as it was called: %s %s", async ([file, word]) => {
    await using node = await healthyNode();
    await node.sh("iptables -t nat -F CNI-HOSTPORT-DNAT");
    const words = word === "" ? [] : [word];
    const { stdout } = await node.exec(file, [...words, "doctor"]);
    expect(stdout).toContain(`Fix: ${[file, ...words].join(" ")} repair\n`);
  });

  test.for([
    ["a kept result", "/var/lib/cni/results/b-pod9-eth0"],
    ["a reservation", "/var/lib/cni/networks/b/10.9.9.2"],
  ] as const)("there is a second network with %s, and keeps its config", async ([, file]) => {
    await using node = await healthyNode();
    const config = "/etc/cni/net.d/20-b.conflist";
    const plugins = [{ type: "bridge", ipam: { type: "host-local", subnet: "10.9.9.0/24" } }];
    await node.writeFile(config, JSON.stringify({ cniVersion: "1.0.0", name: "b", plugins }));
    const several = async (): Promise<string | undefined> => {
      const [, findings] = await examine(node);
      return findings.find(({ id }) => id === "several-configs")?.fix;
    };
    expect(await several()).toContain(`mv ${config}`);
    await node.sh(`mkdir -p $(dirname ${file}); printf 'pod9\r\neth0' > ${file}`);
    expect(await several()).toMatch(new RegExp(`^leave ${config} where it is`));
  });

  test("no plugin's executable is asked of a runtime's environment", async () => {
    await using node = await healthyNode();
    const env = { CNI_COMMAND: "DEL", CNI_CONTAINERID: "pod1", CNI_NETNS: "/run/netns/pod1" };
    expect(await examine(node, env)).toEqual([0, []]);
  });
});

/** Runs doctor as a container without CAP_SYS_ADMIN does, which has the node's folders read-only. */
async function examineInside(node: Sandbox): Promise<[number, readonly Finding[]]> {
  const { exitCode, stdout, stderr } = await node.exec("unshare", [
    ...["--mount", "sh", "-euc"],
    `for folder in /proc/sys /var/lib/cni /etc/cni/net.d; do
       mount --bind $folder $folder
       mount -o remount,bind,ro $folder
     done
     exec setpriv --bounding-set=-sys_admin /opt/cni/bin/cnitool doctor --json`,
  ]);
  expect(stderr).toMatch(/^The inside of pods was not examined.*\n$/);
  return [exitCode, JSON.parse(stdout) as Finding[]];
}

describe.concurrent("in a container that may only read, doctor finds what it finds on the node", () => {
  test.for([
    ["nothing", ":", []],
    ["nothing of the folder that results are to be in", "rm -r /var/lib/cni/results", []],
    [
      "a container with the name of an error",
      `
      sysctl -qw net.ipv4.ip_forward=0
      printf 'EROFS\r\neth0' > /var/lib/cni/networks/cbr0/10.244.1.99
      touch -d '1 hour ago' /var/lib/cni/networks/cbr0/10.244.1.99
    `,
      ["forwarding-off", "leaked-address"],
    ],
    [
      "a file where a folder must be",
      "rm -r /var/lib/cni/results; touch /var/lib/cni/results",
      ["not-writable"],
    ],
  ] as const)("%s", async ([, fault, expected]) => {
    await using node = await createInstalledNode();
    await addByTool(node, "pod1");
    await node.sh(fault);
    const outside = await examine(node);
    expect(idsIn(outside[1])).toEqual(expected);
    const inside = await examineInside(node);
    expect(inside[1].map(({ id, what }) => `${id} ${what}`)).toEqual(
      outside[1].map(({ id, what }) => `${id} ${what}`),
    );
  });
});

test.runIf(isBun || isWhole)(
  "doctor starts no more programs, and opens no more files for each pod, on a fuller node",
  async () => {
    await using node = await createInstalledNode();
    const cost = async (): Promise<{ programs: number; calls: number }> => {
      const args = [
        "-f",
        "-qq",
        "-e",
        "trace=execve,openat,open,sendto,recvmsg",
        "-o",
        "/run/trace",
      ];
      await node.exec("strace", [...args, "/opt/cni/bin/cnitool", "doctor"]);
      const lines = (await node.readFile("/run/trace")).split("\n");
      const programs = lines.filter((line) => line.includes("execve(") && line.endsWith(" = 0"));
      // Without what the runtime itself opens.
      const calls = lines.filter((line) =>
        /sendto|recvmsg|\/var\/lib\/cni|\/run\/netns/.test(line),
      );
      return { programs: programs.length, calls: calls.length };
    };
    const add = async (first: number, count: number): Promise<void> => {
      for (let at = first; at < first + count; at++) await addByTool(node, `pod${at}`, 8000 + at);
    };
    await add(0, 4);
    const four = await cost();
    await add(4, 4);
    const eight = await cost();
    await add(8, 8);
    const sixteen = await cost();
    expect([eight.programs, sixteen.programs]).toEqual([four.programs, four.programs]);
    // Linear: twice as many more pods cost twice as much more, give or take a tenth.
    const [few, many] = [eight.calls - four.calls, sixteen.calls - eight.calls];
    expect(many).toBeLessThan(few * 2.2);
    // All rules are missing, and the chains that they stand in are there.
    await node.sh(`
      for tool in iptables ip6tables; do
        for chain in CNI-HOSTPORT-DNAT CNI-HOSTPORT-MASQ POSTROUTING; do $tool -t nat -F $chain; done
      done
    `);
    const [, findings] = await examine(node);
    expect(findings).toMatchObject([{ id: "rules-missing" }]);
    expect((await cost()).programs).toBe(four.programs);
  },
);

test("doctor needs root", async () => {
  await using node = await createInstalledNode();
  const { exitCode, stderr } = await node.exec("setpriv", [
    ...["--reuid", "65534", "--clear-groups"],
    ...[`${binDir()}/cnitool`, "doctor"],
  ]);
  expect({ exitCode, stderr }).toEqual({
    exitCode: 3,
    stderr: expect.stringContaining("needs root"),
  });
});
