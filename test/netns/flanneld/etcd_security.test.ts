/** flanneld and an etcd that wants to know who asks: client certificates, users with passwords. */
import { describe, expect, test } from "vitest";
import { createAuthority, type Authority, type Certificate } from "../../lab/certificates.ts";
import { createFabric, type FabricNode } from "../../lab/fabric.ts";
import { startEtcd, startFlanneld, until, type Daemon } from "../../helpers/flanneld.ts";

const url = "https://10.77.0.1:2379";
const prefix = "/k8s/network";
const config = '{"Network":"10.244.0.0/16","Backend":{"Type":"host-gw"}}';

function tlsArguments(server: Certificate, authority: Authority): readonly string[] {
  return [
    ...["--cert-file", server.certFile, "--key-file", server.keyFile],
    ...["--trusted-ca-file", authority.caFile, "--client-cert-auth"],
  ];
}

function ctlArguments(client: Certificate, authority: Authority): readonly string[] {
  return [`--cacert=${authority.caFile}`, `--cert=${client.certFile}`, `--key=${client.keyFile}`];
}

function flags(client: Certificate, authority: Authority): readonly string[] {
  return [
    ...[`-etcd-endpoints=${url}`, `-etcd-prefix=${prefix}`, "-iface=eth0"],
    ...[`-etcd-cafile=${authority.caFile}`],
    ...[`-etcd-certfile=${client.certFile}`, `-etcd-keyfile=${client.keyFile}`],
  ];
}

async function setUp() {
  const authority = createAuthority();
  const fabric = await createFabric([{ name: "n1", number: 1 }]);
  const [node] = fabric.nodes;
  if (node === undefined) throw new Error("there is a node");
  const close = async () => {
    await fabric.close();
    authority[Symbol.dispose]();
  };
  return { authority, fabric, node, [Symbol.asyncDispose]: close };
}

async function whenWritten({ sandbox }: FabricNode, daemon: Daemon): Promise<void> {
  await until("subnet.env", async () => sandbox.exists("/run/flannel/subnet.env"), daemon);
}

describe.concurrent("etcd by TLS", () => {
  test("is asked with a client certificate, by its address", async () => {
    await using all = await setUp();
    const { authority, fabric, node } = all;
    const server = authority.server("etcd", "10.77.0.1");
    const client = authority.client("flanneld");
    const ctlArgs = ctlArguments(client, authority);
    const etcd = await startEtcd(fabric.router, {
      url,
      args: tlsArguments(server, authority),
      ctlArgs,
    });
    await etcd.ctl("put", `${prefix}/config`, config);
    const daemon = startFlanneld(node.sandbox, flags(client, authority));
    await whenWritten(node, daemon);
    expect(await etcd.entries(`${prefix}/subnets/`)).toHaveLength(1);
    expect(await daemon.end()).toBe(0);
  });

  test("is not believed where its certificate is for another address", async () => {
    await using all = await setUp();
    const { authority, fabric, node } = all;
    const server = authority.server("etcd", "10.77.0.9");
    const client = authority.client("flanneld");
    const ctlArgs = [...ctlArguments(client, authority), "--insecure-skip-tls-verify"];
    await startEtcd(fabric.router, { url, args: tlsArguments(server, authority), ctlArgs });
    const daemon = startFlanneld(node.sandbox, flags(client, authority));
    const refusal = /Cannot read .* in etcd: .*10\.77\.0\.9/;
    await until("the refusal", () => refusal.test(daemon.log()), daemon);
    expect(await node.sandbox.exists("/run/flannel/subnet.env")).toBe(false);
    expect(await daemon.end()).toBe(0);
  });

  test("may want a user and a password", async () => {
    await using all = await setUp();
    const { authority, fabric, node } = all;
    const server = authority.server("etcd", "10.77.0.1");
    const root = authority.client("root");
    const ctlArgs = ctlArguments(root, authority);
    const args = ["--cert-file", server.certFile, "--key-file", server.keyFile];
    const etcd = await startEtcd(fabric.router, { url, args, ctlArgs });
    await etcd.ctl("put", `${prefix}/config`, config);
    await etcd.ctl("user", "add", "root:secret");
    await etcd.ctl("user", "add", "flannel:hidden");
    await etcd.ctl("role", "add", "flannel");
    await etcd.ctl("role", "grant-permission", "flannel", "--prefix", "readwrite", prefix);
    await etcd.ctl("user", "grant-role", "root", "root");
    await etcd.ctl("user", "grant-role", "flannel", "flannel");
    await etcd.ctl("auth", "enable");
    const login = (password: string) => [
      ...[`-etcd-endpoints=${url}`, `-etcd-prefix=${prefix}`, "-iface=eth0"],
      ...[
        `-etcd-cafile=${authority.caFile}`,
        "-etcd-username=flannel",
        `-etcd-password=${password}`,
      ],
    ];
    const wrong = startFlanneld(node.sandbox, login("wrong"));
    await until("the refusal", () => wrong.log().includes("Cannot log in to etcd"), wrong);
    expect(wrong.log()).not.toContain("wrong");
    await wrong.end();
    const daemon = startFlanneld(node.sandbox, login("hidden"));
    await whenWritten(node, daemon);
    expect(await daemon.end()).toBe(0);
  });
});

describe.concurrent("systemd", () => {
  test("hears when the network is up", async () => {
    await using all = await setUp();
    const { fabric, node } = all;
    const plain = "http://10.77.0.1:2379";
    const etcd = await startEtcd(fabric.router, { url: plain });
    await etcd.ctl("put", `${prefix}/config`, config);
    await node.sandbox.sh("socat -u UNIX-RECV:/run/notify CREATE:/run/heard > /dev/null 2>&1 &");
    await until("the socket", async () => node.sandbox.exists("/run/notify"));
    const daemon = startFlanneld(
      node.sandbox,
      [`-etcd-endpoints=${plain}`, `-etcd-prefix=${prefix}`, "-iface=eth0"],
      { NOTIFY_SOCKET: "/run/notify" },
    );
    const heard = async () =>
      (await node.sandbox.exists("/run/heard")) ? node.sandbox.readFile("/run/heard") : "";
    await until("the word", async () => (await heard()) !== "", daemon);
    expect(await heard()).toBe("READY=1");
    await daemon.end();
  });
});
