/** A caller's environment and current folder do not make the built-in runtime execute code. */
import { describe, expect, test } from "vitest";
import { binDir, cni, cniOk, createSandbox, type Sandbox } from "../helpers/cni.ts";
import { bridgeConf, IPV4 } from "../helpers/network.ts";

const bin = binDir();
const CODE = "/run/code.cjs";
const MARK = "/run/code-ran";

async function nodeWithCode(): Promise<Sandbox> {
  const node = await createSandbox();
  await node.writeFile(CODE, `require("node:fs").writeFileSync(${JSON.stringify(MARK)}, "")`);
  return node;
}

describe.concurrent("no code runs", () => {
  const variables: Readonly<Record<string, string>> = {
    NODE_OPTIONS: `--require ${CODE}`,
    NODE_PATH: "/run",
    BUN_INSPECT_PRELOAD: CODE,
    BUN_PRELOAD: CODE,
    PKG_EXECPATH: "PKG_INVOKE_NODEJS",
  };
  test.for(Object.entries(variables))("by %s", async ([name, value]) => {
    await using node = await nodeWithCode();
    const extraEnv = { [name]: value };
    const conf = { cniVersion: "1.0.0" };
    await cniOk(node, { bin, plugin: "bridge", command: "VERSION", conf, extraEnv });
    expect(await node.exists(MARK)).toBe(false);
  });

  test("by files in the folder that it is started in", async () => {
    await using node = await nodeWithCode();
    await node.writeFile("/run/here/bunfig.toml", `preload = [${JSON.stringify(CODE)}]\n`);
    await node.writeFile("/run/here/.env", "CNI_COMMAND=VERSION\n");
    await node.writeFile("/run/here/package.json", `{"main":${JSON.stringify(CODE)}}`);
    const answer = await node.exec("sh", ["-c", `cd /run/here && exec ${bin}/bridge`]);
    // Without CNI_COMMAND it prints what it is.
    expect(answer).toMatchObject({ exitCode: 1, stdout: "" });
    expect(answer.stderr).toContain("Built-in plugins");
    expect(await node.exists(MARK)).toBe(false);
  });
});

describe.concurrent("what is said and written", () => {
  test("has no secret of the config or the environment in it", async () => {
    await using node = await createSandbox();
    await node.addPod("pod1");
    const secret = "hunter2-is-a-secret";
    const conf = { ...bridgeConf([IPV4]), password: secret, args: { cni: { token: secret } } };
    const extraEnv = { PASSWORD: secret };
    for (const broken of [{}, { ipam: { type: "host-local", ranges: [[{ subnet: "x" }]] } }]) {
      for (const command of ["ADD", "DEL"] as const) {
        const answer = await cni(node, {
          bin,
          plugin: "bridge",
          command,
          conf: { ...conf, ...broken },
          extraEnv,
        });
        expect(answer.stdout + answer.stderr).not.toContain(secret);
      }
    }
    const grep = await node.exec("grep", ["-rl", secret, "/run", "/var/lib/cni"]);
    expect(grep.stdout).toBe("");
  });

  test("is for root alone", async () => {
    await using node = await createSandbox();
    await node.addPod("pod1");
    const env = ["FLANNEL_NETWORK=10.244.0.0/16", "FLANNEL_SUBNET=10.244.1.1/24"];
    const rest = ["FLANNEL_MTU=1450", "FLANNEL_IPMASQ=true", ""];
    await node.writeFile("/run/flannel/subnet.env", [...env, ...rest].join("\n"));
    const flannel = { cniVersion: "1.0.0", name: "cbr0", type: "flannel", delegate: {} };
    const prevResult = await cniOk(node, { bin, plugin: "flannel", command: "ADD", conf: flannel });
    const runtimeConfig = { portMappings: [{ hostPort: 8080, containerPort: 80 }] };
    const portmap = { cniVersion: "1.0.0", name: "cbr0", prevResult, runtimeConfig };
    await cniOk(node, { bin, plugin: "portmap", command: "ADD", conf: portmap });
    const files = await node.sh("find /var/lib/cni /run/flannel-cni -type f");
    expect(files).toMatch(/networks\/cbr0\/10.244.1.2\n/);
    const open = "-type f -perm /077 -o ! -type l -perm /022";
    expect(await node.sh(`find /var/lib/cni /run/flannel-cni ${open}`)).toBe("");
  });

  test.for(["bridge", "flannel"])("%s follows no symbolic link out of a folder", async (plugin) => {
    await using node = await createSandbox();
    await node.addPod("pod1");
    await node.sh("mkdir -p /run/elsewhere /var/lib/cni/networks /run/data");
    await node.sh("ln -s /run/elsewhere /var/lib/cni/networks/cbr0");
    await node.sh("ln -s /run/elsewhere/state /run/data/pod1");
    const env = ["FLANNEL_NETWORK=10.244.0.0/16", "FLANNEL_SUBNET=10.244.1.1/24"];
    const rest = ["FLANNEL_MTU=1450", "FLANNEL_IPMASQ=true", ""];
    await node.writeFile("/run/flannel/subnet.env", [...env, ...rest].join("\n"));
    const flannel = { cniVersion: "1.0.0", name: "cbr0", dataDir: "/run/data", delegate: {} };
    const conf = plugin === "bridge" ? bridgeConf([IPV4]) : flannel;
    const answer = await cni(node, { bin, plugin, command: "ADD", conf });
    expect(answer.json).toMatchObject({ code: 102 });
    expect(await node.list("/run/elsewhere")).toEqual([]);
  });
});
