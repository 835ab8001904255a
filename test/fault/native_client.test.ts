/** The native client and the executable that it executes, without an agent. */
import { beforeAll, describe, expect, test } from "vitest";
import { pluginNames } from "../../plugins/builtins.ts";
import { createSandbox, type Sandbox } from "../helpers/cni.ts";
import { clients } from "../helpers/clients.ts";

const native = clients().filter(({ name }) => name === "native client");

describe.runIf(native.length > 0)("of the agent", () => {
  describe.each(native)("the $name", ({ bin }) => {
    let node: Sandbox;
    beforeAll(async () => {
      node = await createSandbox();
      return async () => node.close();
    });

    /** Runs a command, and returns all that it says and its exit status. */
    async function run(command: string): Promise<string> {
      return node.sh(`{ ${command}; } 2>&1 && echo "exit 0" || echo "exit $?"`);
    }

    test.each(pluginNames)("is %s, by its name", async (plugin) => {
      const text = await run(`${bin}/${plugin} </dev/null`);
      expect(text).toContain(`called as ${plugin}\n`);
      expect(await run(`CNI_COMMAND=VERSION ${bin}/${plugin}`)).toContain("exit 0");
    });

    test("hands its arguments on", async () => {
      expect(await run(`${bin}/flannel install-cni --help`)).toContain("install-cni");
    });

    test("goes by its file, not by PATH, CNI_PATH or the current folder", async () => {
      await node.sh(`
      mkdir -p /run/evil /run/links
      printf '#!/bin/sh\\necho evil\\n' >/run/evil/flannel-cni && chmod +x /run/evil/flannel-cni
      ln -s ${bin}/bridge /run/links/bridge
    `);
      const env = "CNI_COMMAND=VERSION CNI_PATH=/run/evil PATH=/run/evil:/run/links:$PATH";
      for (const name of ["/run/links/bridge", "bridge", `${bin}/bridge`]) {
        const text = await run(`cd /run/evil; ${env} ${name}`);
        expect(text).toContain("supportedVersions");
      }
    });

    test("says that the executable is missing, or is itself", async () => {
      await node.sh(`
      mkdir /run/alone && cp ${bin}/bridge /run/alone/bridge
      mkdir /run/loop && cp ${bin}/bridge /run/loop/flannel-cni && ln /run/loop/flannel-cni /run/loop/bridge
    `);
      for (const [folder, errno] of [
        ["alone", 2],
        ["loop", 40],
      ]) {
        const { exitCode, stdout } = await node.exec(`/run/${folder}/bridge`, [], {
          env: { CNI_COMMAND: "ADD" },
          input: "{}",
          timeout: 5000,
        });
        expect(exitCode).toBe(1);
        const { code, msg } = JSON.parse(stdout) as { code: number; msg: string };
        expect([code, msg]).toEqual([5, expect.stringContaining(`(errno ${errno})`)]);
      }
    });

    test("leaves the executable what it was given: descriptors, signals, an empty name", async () => {
      await node.sh(`mkdir /run/shown && cp ${bin}/bridge /run/shown/ && cat >/run/shown/flannel-cni <<'END'
#!/bin/sh
ls /proc/self/fd; grep SigIgn /proc/self/status; cat
END
chmod +x /run/shown/flannel-cni`);
      const direct = await run("echo in | /run/shown/flannel-cni");
      expect(await run("echo in | CNI_COMMAND=ADD /run/shown/bridge")).toBe(direct);
      const nameless = `bash -c 'exec -a "" ${bin}/bridge' </dev/null`;
      expect(await run(nameless)).toContain("called as \n");
    });
  });
});
