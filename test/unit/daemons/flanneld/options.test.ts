import { describe, expect, it } from "vitest";

import { readOptions, usage, UsageError } from "../../../../daemons/flanneld/options.ts";
import type { Options } from "../../../../daemons/flanneld/options.ts";
import { formatAddress } from "../../../../shared/net/address.ts";
import { formatCidr } from "../../../../shared/net/cidr.ts";

type Env = Record<string, string>;

function optionsOf(args: readonly string[], env: Env = {}): Options {
  const request = readOptions(args, env);
  if (request.action === "run" || request.action === "command") return request.options;
  throw new Error(`it is ${request.action}`);
}

/** Every flag: how it is given, what is looked at, its default, and what it becomes. */
const flags: readonly [
  args: readonly string[],
  look: (options: Options) => unknown,
  usual: unknown,
  given: unknown,
][] = [
  [
    ["--etcd-endpoints", "https://a:2379, https://b:2379,"],
    ({ leases }) => leases.kind === "etcd" && leases.endpoints,
    ["http://127.0.0.1:4001", "http://127.0.0.1:2379"],
    ["https://a:2379", "https://b:2379"],
  ],
  [["-etcd-prefix=/k8s/network/"], etcd("prefix"), "/coreos.com/network", "/k8s/network"],
  [["-etcd-keyfile=/k"], etcd("keyFile"), "", "/k"],
  [["-etcd-certfile=/c"], etcd("certFile"), "", "/c"],
  [["-etcd-cafile=/a"], etcd("caFile"), "", "/a"],
  [["-etcd-username=u"], etcd("username"), "", "u"],
  [["-etcd-password=p=q"], etcd("password"), "", "p=q"],
  [["-subnet-lease-renew-margin=1439"], etcd("renewMargin"), 60, 1439],
  [["--kube-subnet-mgr"], ({ leases }) => leases.kind, "etcd", "kube"],
  [["-kube-api-url=https://x"], kube("apiUrl"), "", "https://x"],
  [["-kubeconfig-file", "/k"], kube("kubeconfig"), "", "/k"],
  [
    ["-kube-annotation-prefix=a.b/c"],
    kube("annotationPrefix"),
    "flannel.alpha.coreos.com",
    "a.b/c",
  ],
  [["-net-config-path=/n"], kube("netConfPath"), "/etc/kube-flannel/net-conf.json", "/n"],
  [["-set-node-network-unavailable=F"], kube("setNodeNetworkUnavailable"), true, false],
  [["-iface=eth0", "--iface", "10.0.0.1"], (o) => o.interface.iface, [], ["eth0", "10.0.0.1"]],
  [["-iface-regex=^10[.]", "-iface-regex=e."], (o) => o.interface.ifaceRegex, [], ["^10[.]", "e."]],
  [["-iface-can-reach=8.8.8.8"], ({ interface: i }) => shown(i.canReach), undefined, "8.8.8.8"],
  [["-public-ip=1.2.3.4"], ({ interface: i }) => shown(i.publicIp), undefined, "1.2.3.4"],
  [["-public-ipv6=fd00::1"], ({ interface: i }) => shown(i.publicIpv6), undefined, "fd00::1"],
  [["-subnet-file=/s"], (o) => o.subnetFile, "/run/flannel/subnet.env", "/s"],
  [["-ip-masq"], (o) => o.traffic.masquerade, false, true],
  [["-ip-masq-fully-random-disable"], (o) => o.traffic.randomFully, true, false],
  [
    ["-ip-masq-exclude=10.0.0.7/8, fd00::/8,"],
    (o) => o.traffic.unmasqueraded.map(formatCidr),
    [],
    ["10.0.0.0/8", "fd00::/8"],
  ],
  [["-iptables-resync=0x10"], (o) => o.traffic.resync, 5, 16],
  [["-iptables-forward-rules=false"], (o) => o.traffic.forward, true, false],
  [["-ip-blackhole-route=1"], (o) => o.traffic.blackholeRoute, false, true],
  [["-healthz-ip=::"], (o) => o.health.host, "0.0.0.0", "::"],
  [["-healthz-port=8081"], (o) => o.health.port, 0, 8081],
  [["-dry-run"], (o) => o.dryRun, false, true],
  [["-v=4", "-vmodule=a=1", "-log_backtrace_at=0"], (o) => o.verbosity, 0, 4],
];

function etcd(key: string) {
  return ({ leases }: Options) => (leases as unknown as Record<string, unknown>)[key];
}

/** With the flag that makes these options be. */
function kube(key: string) {
  return Object.assign(etcd(key), { kube: true });
}

function shown(address: Parameters<typeof formatAddress>[0] | undefined): string | undefined {
  return address && formatAddress(address);
}

describe("readOptions", () => {
  it.each(flags.map((row) => [row[0].join(" "), row] as const))(
    "reads %s, or its default, or it from the environment",
    (_, [args, look, usual, given]) => {
      const base = "kube" in look ? ["--kube-subnet-mgr"] : [];
      expect(look(optionsOf(base))).toEqual(usual);
      expect(look(optionsOf([...base, ...args]))).toEqual(given);

      const [, name = "", attached] = /^--?([^=]*)(?:=(.*))?$/.exec(args[0] ?? "") ?? [];
      const detached = args.length === 2 && args[1]?.startsWith("-") === false ? args[1] : "true";
      const variable = `FLANNELD_${name.toUpperCase().replaceAll("-", "_")}`;
      const fromEnv = look(optionsOf(base, { [variable]: attached ?? detached ?? "" }));
      expect(fromEnv).toEqual(
        Array.isArray(given) && args.length > 1 && name.startsWith("iface")
          ? given.slice(0, 1)
          : given,
      );
    },
  );

  it("names every flag in the usage", () => {
    for (const [args] of flags) {
      expect(usage).toContain(`--${/^--?([^=]*)/.exec(args[0] ?? "")?.[1] ?? "?"}`);
    }
  });

  it("lets the command line win over the environment, and the last flag over the others", () => {
    const env = { FLANNELD_HEALTHZ_PORT: "1", FLANNELD_IFACE: "eth9" };
    expect(optionsOf(["-healthz-port=2", "--healthz-port", "3"], env).health.port).toBe(3);
    expect(optionsOf(["-iface=eth0"], env).interface.iface).toEqual(["eth0"]);
  });

  it("takes an empty variable for none, and FLANNELD_VERSION for no flag", () => {
    const env = { FLANNELD_HEALTHZ_PORT: "", FLANNELD_VERSION: "v0.28.10", FLANNELD_PORT: "x" };
    expect(optionsOf([], env).health.port).toBe(0);
  });

  it("reads the node's and the pod's names", () => {
    const names = (env: Env) => {
      const { leases } = optionsOf(["-kube-subnet-mgr"], env);
      return leases.kind === "kube" && [leases.nodeName, leases.pod];
    };
    expect(names({ NODE_NAME: "n1" })).toEqual(["n1", undefined]);
    expect(names({ POD_NAME: "p", POD_NAMESPACE: "s" })).toEqual([
      undefined,
      { namespace: "s", name: "p" },
    ]);
    expect(names({ POD_NAME: "p" })).toEqual([undefined, undefined]);
    expect(optionsOf([], { NOTIFY_SOCKET: "@a" }).notifySocket).toBe("@a");
  });

  it.each([
    [["--version"], { action: "version" }],
    [["-version", "-nonsense"].slice(0, 1), { action: "version" }],
    [["-h"], { action: "help" }],
    [["--help"], { action: "help" }],
  ])("answers %j at once", (args, request) => {
    expect(readOptions(args, {})).toEqual(request);
  });

  it.each([
    [["status"], ["status"]],
    [
      ["-ip-masq", "cleanup", "-x"],
      ["cleanup", "-x"],
    ],
    [["--", "check"], ["check"]],
    [["-ip-masq", "true"], ["true"]],
  ])("hands on the words of %j", (args, words) => {
    expect(readOptions(args, {})).toMatchObject({ action: "command", words });
  });

  it.each([
    [["--nonsense"], "there is no --nonsense"],
    [["---iface=x"], "there is no ---iface=x"],
    [["-constructor"], "there is no -constructor"],
    [["-iface"], "-iface needs a value"],
    [["-ip-masq=yes"], '--ip-masq must be true or false (got "yes")'],
    [["-ip-masq="], '--ip-masq must be true or false (got "")'],
    [["-healthz-port=65536"], "--healthz-port must be a whole number from 0 to 65535"],
    [["-healthz-port=1e3"], 'got "1e3"'],
    [["-healthz-port=nine", "-healthz-port=9"], 'got "nine"'],
    [["-subnet-lease-renew-margin=0"], "must be from 1 to 1439 minutes (got 0)"],
    [["-subnet-lease-renew-margin=1440"], "must be from 1 to 1439 minutes (got 1440)"],
    [["-public-ip=fd00::1"], "--public-ip must be an IPv4 address"],
    [["-public-ipv6=x"], "--public-ipv6 must be an IPv6 address"],
    [["-iface-can-reach=host"], "--iface-can-reach must be an IP address"],
    [["-ip-masq-exclude=10.0.0.0/8,x"], "--ip-masq-exclude must be networks such as"],
    [["-iface-regex=("], "--iface-regex must be a regular expression"],
  ])("refuses %j", (args, problem) => {
    expect(() => readOptions(args, {})).toThrow(UsageError);
    expect(() => readOptions(args, {})).toThrow(problem);
  });

  it("names the variable in what it refuses of the environment", () => {
    expect(() => readOptions([], { FLANNELD_IP_MASQ: "si" })).toThrow(
      'Cannot read the flags: FLANNELD_IP_MASQ must be true or false (got "si")',
    );
  });
});
