/** mk-docker-opts.sh: what dockerd gets to read, byte for byte. */
import { describe, expect, test } from "vitest";
import { binDir, createSandbox } from "../../helpers/cni.ts";

const tool = `${binDir()}/mk-docker-opts.sh`;
const env = `FLANNEL_NETWORK=10.1.0.0/16
FLANNEL_SUBNET=10.1.74.1/24
FLANNEL_MTU=1472
FLANNEL_IPMASQ=false
`;
const bip = 'DOCKER_OPT_BIP="--bip=10.1.74.1/24"\n';
const ipMasq = 'DOCKER_OPT_IPMASQ="--ip-masq=true"\n';
const mtu = 'DOCKER_OPT_MTU="--mtu=1472"\n';
const all = '=" --bip=10.1.74.1/24 --ip-masq=true --mtu=1472"\n';

describe.concurrent("mk-docker-opts.sh", () => {
  test("writes each option, or all in one variable, or both", async () => {
    await using node = await createSandbox();
    await node.writeFile("/run/subnet.env", env);
    const written = async (...args: string[]) => {
      await node.output(tool, ["-f", "/run/subnet.env", "-d", "/run/opts", ...args]);
      return node.readFile("/run/opts");
    };
    expect(await written()).toBe(`${bip}${ipMasq}${mtu}DOCKER_OPTS${all}`);
    expect(await written("-i")).toBe(`${bip}${ipMasq}${mtu}`);
    expect(await written("-c")).toBe(`DOCKER_OPTS${all}`);
    expect(await written("-k", "CUSTOM_KEY")).toBe(`${bip}${ipMasq}${mtu}CUSTOM_KEY${all}`);
    expect(await written("-m")).toBe(`${bip}${mtu}DOCKER_OPTS=" --bip=10.1.74.1/24 --mtu=1472"\n`);
    expect(await written("-mck", "K")).toBe('K=" --bip=10.1.74.1/24 --mtu=1472"\n');
  });

  test("reads and writes where flanneld and docker do, and keeps what is set already", async () => {
    await using node = await createSandbox();
    await node.writeFile("/run/flannel/subnet.env", env.replace("false", "true"));
    await node.output(tool, ["-k", "OPTS", "-d", "/run/flannel/docker", "-c"], {
      env: { OPTS: "-H x" },
    });
    expect(await node.readFile("/run/flannel/docker")).toBe(
      'OPTS="-H x  --bip=10.1.74.1/24 --ip-masq=false --mtu=1472"\n',
    );
    await node.output(tool);
    expect(await node.readFile("/run/docker_opts.env")).toContain("DOCKER_OPTS=");
    expect(await node.sh(`${tool} -c -d /dev/stdout | cat`)).toContain("DOCKER_OPTS=");
  });

  test("writes nothing of use without subnet.env, and refuses what it cannot use", async () => {
    await using node = await createSandbox();
    await node.output(tool);
    expect(await node.readFile("/run/docker_opts.env")).toBe('DOCKER_OPTS=""\n');
    await node.writeFile("/run/flannel/subnet.env", env.replace("false", "maybe"));
    expect(await node.exec(tool)).toMatchObject({
      exitCode: 1,
      stderr: "Cannot use FLANNEL_IPMASQ: it must be true or false (got maybe).\n",
    });
    expect(await node.exec(tool, ["-x"])).toMatchObject({ exitCode: 1 });
    expect(await node.exec(tool, ["-k"])).toMatchObject({ exitCode: 1 });
  });

  test("fails where a route leads the subnet by a gateway", async () => {
    await using node = await createSandbox();
    await node.writeFile("/run/flannel/subnet.env", env);
    await node.sh(`
      ip link add eth0 type veth peer name far
      ip link set far up
      ip address add 192.0.2.1/24 dev eth0
      ip link set eth0 up
      ip route add 10.1.74.0/24 via 192.0.2.2
    `);
    expect(await node.exec(tool)).toMatchObject({ exitCode: 1 });
    await node.sh("ip route delete 10.1.74.0/24; ip route add 10.1.75.0/24 via 192.0.2.2");
    expect(await node.exec(tool)).toMatchObject({ exitCode: 0, stderr: "" });
  });
});

describe.concurrent("flanneld's flags", () => {
  test("answers --version and --help, and refuses others", async () => {
    await using node = await createSandbox();
    const flanneld = `${binDir()}/flanneld`;
    expect(await node.exec(flanneld, ["--version"])).toMatchObject({
      exitCode: 0,
      stderr: expect.stringMatching(/^\d+\.\d+\.\d+\n$/),
    });
    expect(await node.exec(flanneld, ["-help"])).toMatchObject({
      exitCode: 0,
      stdout: expect.stringContaining("--kube-subnet-mgr"),
    });
    expect(await node.exec(flanneld, ["-nonsense"])).toMatchObject({ exitCode: 2 });
  });
});
