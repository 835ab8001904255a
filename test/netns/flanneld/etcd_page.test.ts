/** docs/etcd.md and deploy/systemd, followed on a node with an etcd that wants certificates. */
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execa } from "execa";
import { expect, onTestFinished, test } from "vitest";
import { binDir } from "../../helpers/cni.ts";
import { startEtcd, startFlanneld, until } from "../../helpers/flanneld.ts";
import { createAuthority } from "../../lab/certificates.ts";
import { createFabric } from "../../lab/fabric.ts";
import { pathOf } from "../../lab/requirements.ts";

const units = ["flanneld.service", "flanneld-docker.service", "flanneld-docker.path"];
const textOf = (unit: string): string => readFileSync(`deploy/systemd/${unit}`, "utf8");
const blocks = [...readFileSync("docs/etcd.md", "utf8").matchAll(/^```sh\n([^]*?)^```$/gm)].map(
  ([, block]) => block ?? "",
);

/** The words of a line of a unit, the program's first. */
function lineOf(unit: string, key: string): readonly [program: string, ...words: string[]] {
  const text = new RegExp(`^${key}=(.*)$`, "m").exec(textOf(unit))?.[1] ?? "";
  const [program = "", ...words] = text.split(" ");
  return [program.replace("/usr/local/bin/", ""), ...words];
}

test("pain 41: the commands do what the page says, with flanneld started by the unit's line", async () => {
  using authority = createAuthority();
  await using fabric = await createFabric([{ name: "n1", number: 1 }]);
  const [node] = fabric.nodes;
  if (node === undefined) throw new Error("there is a node");
  const { sandbox } = node;
  await fabric.router.sh("ip address add 10.0.0.1/32 dev br0");
  const server = authority.server("etcd", "10.0.0.1");
  const client = authority.client("flanneld");
  // The sandbox's /etc is its own.
  await sandbox.sh(`
    mkdir /etc/flanneld
    cp ${authority.caFile} /etc/flanneld/ca.crt
    cp ${client.certFile} /etc/flanneld/client.crt
    cp ${client.keyFile} /etc/flanneld/client.key
  `);
  const etcd = await startEtcd(fabric.router, {
    url: "https://10.0.0.1:2379",
    args: [
      ...["--cert-file", server.certFile, "--key-file", server.keyFile, "--client-cert-auth"],
      ...["--trusted-ca-file", authority.caFile],
    ],
    ctlArgs: [
      ...[`--cacert=${authority.caFile}`, `--cert=${client.certFile}`, `--key=${client.keyFile}`],
    ],
  });
  const [connect = "", setConfig = "", ...further] = blocks;
  expect(further).toHaveLength(5);
  const run = async (...parts: readonly string[]) => {
    const script = `exec 2>&1; set -e; ${[connect, ...parts].join("\n")}`;
    const { exitCode, stdout } = await sandbox.exec("bash", ["-c", script]);
    expect(exitCode, stdout).toBe(0);
    return stdout;
  };
  expect(await run(setConfig)).toContain('"Backend":{"Type":"vxlan"}');

  const [, ...flags] = lineOf("flanneld.service", "ExecStart");
  const daemon = startFlanneld(sandbox, flags);
  await until("subnet.env", async () => sandbox.exists("/run/flannel/subnet.env"), daemon);
  const dockerOptions = async (unit: string, key: string): Promise<string> => {
    const [tool, ...words] = lineOf(unit, key);
    await sandbox.output(`${binDir()}/${tool}`, words);
    return sandbox.readFile("/run/flannel/docker");
  };
  const before = await dockerOptions("flanneld.service", "ExecStartPost");
  expect(before).toMatch(
    /^DOCKER_NETWORK_OPTIONS=" --bip=10\.244\.\d+\.1\/24 --ip-masq=false --mtu=1450"$/m,
  );
  // The subnet is another node's now, so this one gets another.
  const [file] = lineOf("flanneld-docker.path", "PathChanged");
  const [, octet = ""] = /--bip=10\.244\.(\d+)/.exec(before) ?? [];
  const written = await sandbox.readFile(file);
  const value = '{"PublicIP":"10.77.0.99","BackendType":"vxlan"}';
  await etcd.ctl("put", `/k8s/network/subnets/10.244.${octet}.0-24`, value);
  await until("subnet.env", async () => (await sandbox.readFile(file)) !== written, daemon);
  const after = await dockerOptions("flanneld-docker.service", "ExecStart");
  const [, subnet = ""] = /^FLANNEL_SUBNET=(.*)$/m.exec(await sandbox.readFile(file)) ?? [];
  expect(after).toBe(before.replaceAll(/--bip=[\d./]+/g, `--bip=${subnet}`));
  expect(after).not.toBe(before);

  // The page reads the lease of the first subnet, and a reservation has none.
  await etcd.ctl("del", `/k8s/network/subnets/10.244.${octet}.0-24`);
  const output = await run(...further);
  expect(output).toMatch(
    /^\/k8s\/network\/subnets\/10\.244\.\d+\.0-24\n\{"PublicIP":"10\.77\.0\.11"/m,
  );
  expect(output).toMatch(
    /granted with TTL\(86400s\), remaining\(86\d{3}s\), attached keys\(\[\/k8s/,
  );
  expect(output).toMatch(
    /^1$[^]*^Role flannel created$[^]*^Role flannel is granted to user flannel$/m,
  );
  await daemon.end();
});

test.skipIf(pathOf("systemd-analyze") === undefined)("systemd reads the units", async () => {
  const folder = mkdtempSync(join(tmpdir(), "units-"));
  onTestFinished(() => {
    rmSync(folder, { recursive: true });
  });
  // It wants the programs to be there.
  for (const unit of units) {
    writeFileSync(join(folder, unit), textOf(unit).replaceAll("/usr/local/bin", binDir()));
  }
  writeFileSync(join(folder, "docker.service"), "[Service]\nExecStart=/bin/true\n");
  mkdirSync(join(folder, "docker.service.d"));
  cpSync("deploy/systemd/docker.service.d", join(folder, "docker.service.d"), { recursive: true });
  const dropIn = join(folder, "docker.service.d/flannel.conf");
  writeFileSync(dropIn, readFileSync(dropIn, "utf8").replace("/usr/bin/dockerd", "/bin/true"));
  const paths = [...units, "docker.service"].map((name) => join(folder, name));
  const { all, exitCode } = await execa("systemd-analyze", ["verify", "--man=no", ...paths], {
    ...{ all: true, reject: false, env: { SYSTEMD_UNIT_PATH: `${folder}:` } },
  });
  expect({ all, exitCode }).toEqual({ all: "", exitCode: 0 });
});
