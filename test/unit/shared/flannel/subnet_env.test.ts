import { mkdirSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";

import { Code } from "../../../../shared/cni/error.ts";
import { formatCidr } from "../../../../shared/net/cidr.ts";
import {
  formatSubnetEnv,
  parseSubnetEnv,
  readSubnetEnv,
  writeSubnetEnv,
} from "../../../../shared/flannel/subnet_env.ts";
import { errorOf } from "../../error_of.ts";
import { temporaryFolder } from "../../temporary_folder.ts";
import { plainEnv } from "./plain_env.ts";

const path = "/run/flannel/subnet.env";

const dualStack = [
  "FLANNEL_NETWORK=10.244.0.0/16",
  "FLANNEL_SUBNET=10.244.1.1/24",
  "FLANNEL_IPV6_NETWORK=2001:cafe:42::/56",
  "FLANNEL_IPV6_SUBNET=2001:cafe:42:1::1/64",
  "FLANNEL_MTU=1450",
  "FLANNEL_IPMASQ=false",
  "",
].join("\n");

/** The result as text, which is easier to compare. */
function parse(text: string) {
  const { networks, subnets, ...rest } = parseSubnetEnv(text, path);
  return { networks: networks.map(formatCidr), subnets: subnets.map(formatCidr), ...rest };
}

const whole = {
  networks: ["10.244.0.0/16", "2001:cafe:42::/56"],
  subnets: ["10.244.1.0/24", "2001:cafe:42:1::/64"],
  mtu: 1450,
  ipMasq: false,
};

const subnet4 = "an IPv4 subnet with a prefix length of 30 or less";
const subnet6 = "an IPv6 subnet with a prefix length of 126 or less";
const bytes = "a number of bytes, at most 65535";

describe("parseSubnetEnv", () => {
  it("reads what flanneld writes, and masks the subnet", () => {
    expect(parse(plainEnv)).toEqual({
      networks: ["10.244.0.0/16"],
      subnets: ["10.244.1.0/24"],
      mtu: 1450,
      ipMasq: true,
    });
    expect(parse(dualStack)).toEqual(whole);
  });

  it.each([
    ["blank lines and comments", `\n  \n# flanneld\n${dualStack.replaceAll("\n", "\n#\n")}`],
    ["CRLF", dualStack.replaceAll("\n", "\r\n")],
    ["double quotes", dualStack.replaceAll(/=(.*)/g, '="$1"')],
    ["single quotes", dualStack.replaceAll(/=(.*)/g, "='$1'")],
    ["export", dualStack.replaceAll("FLANNEL_", "export  FLANNEL_")],
    ["spaces", dualStack.replaceAll(/^(.*)=(.*)$/gm, "\t$1 = $2 ")],
    ["no end of the last line", dualStack.trimEnd()],
    ["another order", dualStack.trimEnd().split("\n").toReversed().join("\n")],
    ["unknown keys", `FLANNEL_\nOTHER\n=\nA=B=C\nPATH="\n${dualStack}`],
    ["an earlier value", `FLANNEL_MTU=9000\nFLANNEL_SUBNET=10.9.9.1/24\n${dualStack}`],
  ])("takes no notice of %s", (_, text) => {
    expect(parse(text)).toEqual(whole);
  });

  it("takes several networks, each once", () => {
    const several = "10.244.0.0/16, 192.168.7.0/16,10.244.9.9/16";
    const text = plainEnv.replace("10.244.0.0/16", several);
    expect(parse(text).networks).toEqual(["10.244.0.0/16", "192.168.0.0/16"]);
  });

  it.each([
    ["FLANNEL_NETWORK", "10.244.0.0", "a list of IPv4 networks"],
    ["FLANNEL_NETWORK", "10.244.0.0/16,", "a list of IPv4 networks"],
    ["FLANNEL_NETWORK", "10.244.0.0/16,fd00::/48", "a list of IPv4 networks"],
    ["FLANNEL_SUBNET", "", subnet4],
    ["FLANNEL_SUBNET", "10.244.1/24", subnet4],
    ["FLANNEL_SUBNET", "10.244.1.1/24,10.244.2.1/24", subnet4],
    ["FLANNEL_SUBNET", "fd00::1/64", subnet4],
    ["FLANNEL_SUBNET", '"10.244.1.1/24', subnet4],
    ["FLANNEL_IPV6_NETWORK", "10.244.0.0/16", "a list of IPv6 networks"],
    ["FLANNEL_IPV6_SUBNET", "10.244.1.1/24", subnet6],
    ["FLANNEL_MTU", "", bytes],
    ["FLANNEL_MTU", "-1", bytes],
    ["FLANNEL_MTU", "1e3", bytes],
    ["FLANNEL_MTU", "1450.0", bytes],
    ["FLANNEL_MTU", "65536", bytes],
    ["FLANNEL_SUBNET", "10.244.1.1/31", subnet4],
    ["FLANNEL_SUBNET", "10.244.1.1/32", subnet4],
    ["FLANNEL_IPV6_SUBNET", "fd00::1/127", subnet6],
    ["FLANNEL_IPMASQ", "tr", "true or false"],
    ["FLANNEL_IPMASQ", "True", "true or false"],
    ["FLANNEL_IPMASQ", "1", "true or false"],
  ])("refuses %s=%s", async (key, value, wanted) => {
    const lines = dualStack.split("\n");
    const at = lines.findIndex((line) => line.startsWith(`${key}=`));
    const text = lines.with(at, `${key}=${value}`).join("\n");
    const { code, message, details } = await errorOf(() => parse(text));
    expect(code).toBe(Code.TryAgainLater);
    expect(message).toBe(
      `Cannot learn the subnet of this node: ${key} in ${path}, line ${String(at + 1)}, must be ${wanted} (got ${JSON.stringify(value)}).`,
    );
    expect(details).toContain("correct those");
  });

  it("refuses a key without a value", async () => {
    const { message } = await errorOf(() => parse(plainEnv.replace("=1450", "")));
    expect(message).toContain(`FLANNEL_MTU in ${path}, line 3, must be ${bytes} (got "")`);
  });

  it("names every key that is missing", async () => {
    const { code, message } = await errorOf(() => parse("# nothing\n"));
    expect(code).toBe(Code.TryAgainLater);
    for (const key of ["NETWORK", "IPV6_NETWORK", "SUBNET", "IPV6_SUBNET", "MTU", "IPMASQ"]) {
      expect(message).toContain(`FLANNEL_${key}`);
    }
    expect((await errorOf(() => parse(" \n"))).message).toContain(`${path} must set FLANNEL_`);
  });

  it("does not take a part of what flanneld writes for the whole", async () => {
    for (const text of [plainEnv, dualStack]) {
      for (let length = 0; length < text.length - 1; length++) {
        const { code } = await errorOf(() => parse(text.slice(0, length)));
        expect(code).toBe(Code.TryAgainLater);
      }
    }
  });

  it("throws nothing but failures", async () => {
    const piece = fc.oneof(
      fc.constantFrom(...dualStack.split(/(?<=[=\n])/), '"', "'", "#", "\0", "export "),
      fc.string({ maxLength: 4 }),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(piece, { maxLength: 20 }), async (pieces) => {
        const text = pieces.join("");
        // errorOf passes any other error on; the second call throws one.
        const { code } = await errorOf(() => [parse(text), parse("")]);
        expect(code).toBe(Code.TryAgainLater);
      }),
    );
  });
});

describe("readSubnetEnv", () => {
  it("says that there is no file, and what to look at", async () => {
    const { code, message, details } = await errorOf(() => readSubnetEnv("/nowhere/subnet.env"));
    expect(code).toBe(Code.TryAgainLater);
    expect(message).toBe("Cannot learn the subnet of this node: there is no /nowhere/subnet.env.");
    expect(details).toContain("kubectl -n kube-flannel logs ds/kube-flannel-ds");
  });

  it("L9 says why a file cannot be read", async () => {
    using folder = temporaryFolder();
    const file = join(folder.path, "subnet.env");
    mkdirSync(file);
    const { code, message } = await errorOf(() => readSubnetEnv(file));
    expect(code).toBe(Code.TryAgainLater);
    expect(message).toContain(`${file} must be a regular file (got a folder)`);
  });

  it("reads a file", () => {
    using folder = temporaryFolder();
    const file = join(folder.path, "subnet.env");
    writeFileSync(file, plainEnv);
    expect(readSubnetEnv(file).mtu).toBe(1450);
  });
});

describe("writeSubnetEnv", () => {
  const env = parseSubnetEnv(dualStack.replace(":1::1/64", "::1/64"), path);

  it("writes what flanneld writes", () => {
    expect(formatSubnetEnv(env)).toBe(
      [
        "FLANNEL_NETWORK=10.244.0.0/16",
        "FLANNEL_SUBNET=10.244.1.1/24",
        "FLANNEL_IPV6_NETWORK=2001:cafe:42::/56",
        "FLANNEL_IPV6_SUBNET=2001:cafe:42::1/64",
        "FLANNEL_MTU=1450",
        "FLANNEL_IPMASQ=false",
        "",
      ].join("\n"),
    );
    const only6 = { ...env, networks: env.networks.slice(1), subnets: env.subnets.slice(1) };
    expect(formatSubnetEnv(only6)).not.toMatch(/FLANNEL_(NETWORK|SUBNET)/);
  });

  it("makes its folder, writes a change in one step, and nothing without one", () => {
    using folder = temporaryFolder();
    const file = join(folder.path, "flannel", "subnet.env");
    expect(writeSubnetEnv(file, env)).toBe(true);
    expect(statSync(file).mode & 0o777).toBe(0o644);
    const { ino } = statSync(file);
    expect(writeSubnetEnv(file, env)).toBe(false);
    expect(statSync(file).ino).toBe(ino);
    expect(writeSubnetEnv(file, { ...env, mtu: 1400 })).toBe(true);
    expect(readSubnetEnv(file)).toEqual({ ...env, mtu: 1400 });
    expect(readdirSync(dirname(file))).toEqual(["subnet.env"]);
  });

  it("says where it cannot write", () => {
    using folder = temporaryFolder();
    const file = join(folder.path, "file");
    writeFileSync(file, "");
    expect(() => writeSubnetEnv(join(file, "subnet.env"), env)).toThrow(/^Cannot write .*file/);
  });
});
