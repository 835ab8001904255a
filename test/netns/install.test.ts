/** install-cni on a node: what it installs, removes and refuses, and what is left when it is killed. */
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execa } from "execa";
import { beforeAll, describe, expect, test } from "vitest";
import { pluginNames } from "../../plugins/builtins.ts";
import { binDir, createSandbox, type Sandbox } from "../helpers/cni.ts";
import { clients } from "../helpers/clients.ts";
import { isBun, soak, testSome } from "../helpers/form.ts";

const bin = binDir();
const PLUGINS = pluginNames.toSorted();
/** The native client, if the build has it, and where it expects the executable. */
const CLIENT = clients().find(({ name }) => name === "native client")?.bin;
const FULL = "flannel-cni";
const FILES = CLIENT === undefined ? PLUGINS : [...PLUGINS, FULL].toSorted();
/** Files that differ between versions of the executable. */
const CHANGING = CLIENT === undefined ? PLUGINS : [FULL];
const BIN = "/opt/cni/bin";
const CONF = "/etc/cni/net.d";
const CONFLIST = `${CONF}/10-flannel.conflist`;
const MANIFEST = ".flannel-cni.sha256";

/** Another version of the executable, which differs in a byte that the kernel ignores. */
async function makeVariant(node: Sandbox): Promise<string> {
  await node.sh(`
    mkdir -p /run/variant
    cp ${bin}/flannel /run/variant/install-cni
    printf x | dd of=/run/variant/install-cni bs=1 seek=15 conv=notrunc status=none
  `);
  return "/run/variant/install-cni";
}

const contents = CLIENT === undefined ? [bin] : [bin, CLIENT];
/** How many files the names are: links to the executable, or the client once more for each. */
const fileCount = CLIENT === undefined ? 1 : FILES.length;
const digests = contents
  .map((folder) =>
    createHash("sha256")
      .update(readFileSync(join(folder, "flannel")))
      .digest("hex"),
  )
  .toSorted()
  .join("\n");

/** A command that prints a name of each file in the working directory, however many it has. */
const eachFileOnce = "stat -c '%i %n' * | sort -u -k 1,1 | cut -d ' ' -f 2";

/** Expects all plugins to be whole, to run, and to be the same executable or the client of one. */
async function expectWhole(node: Sandbox): Promise<void> {
  await node.sh(`
    cd ${BIN}
    for plugin in ${PLUGINS.join(" ")}; do CNI_COMMAND=VERSION ./$plugin </dev/null >/dev/null; done
    for plugin in ${PLUGINS.join(" ")}; do cmp ${CLIENT ?? bin}/flannel $plugin; done
    cmp ${bin}/flannel ${CLIENT === undefined ? "flannel" : FULL}
    [ "$(cut -c 1-64 ${MANIFEST} | sort -u)" = "${digests}" ]
    cd ${CONF}
    sha256sum --check --quiet ${MANIFEST}
  `);
  expect(await node.list(BIN)).toEqual([MANIFEST, ...FILES]);
  expect(await node.list(CONF)).toEqual([MANIFEST, "10-flannel.conflist"]);
}

describe("I1, I2: install", () => {
  test("puts all plugins and the conflist there, once, and takes them away", async () => {
    await using node = await createSandbox();
    const report = await node.output(`${bin}/install-cni`);
    expect(report.match(/^installed /gm)).toHaveLength(FILES.length + 1);
    await expectWhole(node);
    expect(await node.mode(`${BIN}/flannel`)).toBe(0o755);
    const inodes = await node.sh(`stat -c %i ${BIN}/* | sort -u`);
    expect(inodes.trim().split("\n")).toHaveLength(fileCount);

    const stamps = `stat -c '%n %i %y' ${BIN} ${BIN}/* ${CONF} ${CONF}/* ${BIN}/${MANIFEST}`;
    const before = await node.sh(stamps);
    // As an image does that has one file.
    const again = await node.output(`${bin}/flannel`, ["install-cni"]);
    expect(again).toContain("There was nothing to do.");
    expect(await node.sh(stamps)).toBe(before);

    const removed = await node.output(`${BIN}/flannel`, ["install-cni", "--uninstall"]);
    expect(removed.match(/^removed /gm)).toHaveLength(FILES.length + 1);
    expect([await node.list(BIN), await node.list(CONF)]).toEqual([[], []]);
  });

  test("no execution fails during upgrades, running ones included", async () => {
    await using node = await createSandbox();
    const versions = [await makeVariant(node), `${bin}/install-cni`];
    await node.output(`${bin}/install-cni`);
    const loop = node.sh(`
      runs=0
      until [ -e /run/stop ]; do
        for plugin in ${PLUGINS.join(" ")}; do
          CNI_COMMAND=VERSION ${BIN}/$plugin </dev/null >/dev/null 2>>/run/failed ||
            echo "$plugin: $?" >>/run/failed
          runs=$((runs + 1))
        done
      done
      echo $runs
    `);
    try {
      for (const version of soak ? [...versions, ...versions] : versions) {
        const report = await node.output(version);
        expect(report.match(/^replaced /gm)).toHaveLength(CHANGING.length);
      }
    } finally {
      await node.writeFile("/run/stop", "");
    }
    expect(Number(await loop)).toBeGreaterThan(5);
    expect(await node.readFile("/run/failed")).toBe("");
    await expectWhole(node);
  });

  test("keeps the modes of what it replaces, and mends one that cannot be run", async () => {
    await using node = await createSandbox();
    const variant = await makeVariant(node);
    await node.output(variant);
    await node.sh(`echo '{}' >${CONFLIST}; chmod 600 ${CONFLIST}; chmod 750 ${BIN}/*`);
    await node.output(`${bin}/install-cni`);
    await expectWhole(node);
    expect(await node.mode(CONFLIST)).toBe(0o600);
    expect(await node.mode(`${BIN}/portmap`)).toBe(0o750);
    await node.sh(`chmod 644 ${BIN}/bridge`);
    await node.output(`${bin}/install-cni`);
    await expectWhole(node);
  });

  test.runIf(CLIENT === undefined)("makes copies where links are impossible", async () => {
    await using node = await createSandbox();
    const inject = "inject=link,linkat:error=EPERM";
    const args = ["-f", "-o", "/dev/null", "-e", inject, `${bin}/install-cni`];
    expect(await node.output("strace", args)).toMatch(/flannel \(a copy: links are impossible\)/);
    await expectWhole(node);
    const inodes = await node.sh(`stat -c %i ${BIN}/* | sort -u`);
    expect(inodes.trim().split("\n")).toHaveLength(FILES.length);
  });

  test("called as cp, replaces a file that runs", async () => {
    await using node = await createSandbox();
    await node.output(`${bin}/install-cni`);
    await node.sh(`
      mkdir /run/image && ln -s ${bin}/flannel /run/image/cp && cp ${bin}/flannel /run
      sleep 2 </dev/null 2>/dev/null | CNI_COMMAND=ADD CNI_CONTAINERID=a CNI_NETNS=/proc/1/ns/net \
        CNI_IFNAME=eth0 ${BIN}/flannel >/dev/null 2>&1 &
      /run/image/cp -f /run/flannel ${BIN}
      cmp ${bin}/flannel ${BIN}/flannel
      for plugin in ${PLUGINS.join(" ")}; do CNI_COMMAND=VERSION ${BIN}/$plugin </dev/null; done
    `);
    const links = await node.sh(`stat -c %h ${BIN}/flannel ${BIN}/bridge`);
    expect(links.trim().split("\n")).toEqual(["1", CLIENT === undefined ? "4" : "1"]);
  });
});

test.skipIf(CLIENT === undefined)(
  "another image's cp -f onto a name of the client's changes no other",
  async () => {
    await using node = await createSandbox();
    await node.output(`${bin}/install-cni`);
    await node.sh(`
    busybox cp -f /bin/false ${BIN}/flannel
    cmp /bin/false ${BIN}/flannel
  `);
    for (const plugin of ["bridge", "host-local", "loopback", "portmap"]) {
      const answer = await node.sh(`CNI_COMMAND=VERSION ${BIN}/${plugin} </dev/null`);
      expect(answer).toContain("supportedVersions");
    }
  },
);

describe("S1: installers and others", () => {
  test("a user who locks the folders stops nobody", async () => {
    await using node = await createSandbox();
    await node.sh(`
      mkdir -p ${BIN} ${CONF}
      for folder in ${BIN} ${CONF}; do
        setpriv --reuid=65534 --regid=65534 --clear-groups flock -x $folder sleep 30 \\
          </dev/null >/dev/null 2>&1 &
      done
      sleep 0.2
      timeout 20 ${bin}/install-cni
    `);
    await expectWhole(node);
  });

  test("installers of two containers, which share the folders alone, take turns", async () => {
    await using node = await createSandbox();
    const variant = await makeVariant(node);
    // Each has a /run of its own, as an init container has.
    await node.sh(`
      mkdir -p ${BIN} ${CONF} /var/lib/own
      cp ${variant} /var/lib/own/variant
      for program in /var/lib/own/variant ${bin}/flannel /var/lib/own/variant; do
        unshare -m sh -c "mount -t tmpfs tmpfs /run; exec $program install-cni" &
        pids="$pids $!"
      done
      for pid in $pids; do wait $pid; done
    `);
    const found = await node.sh(
      `cd ${BIN}; ${eachFileOnce} | xargs sha256sum | cut -c 1-64 | sort -u`,
    );
    expect(found.trim().split("\n"), "all of one version").toHaveLength(contents.length);
    expect(await node.list(BIN)).toEqual([MANIFEST, ...FILES]);
    expect(await node.sh(`cut -c 1-64 ${BIN}/${MANIFEST} | sort -u`)).toBe(found);
  });
});

describe("what is refused", () => {
  test.for([
    ["no JSON", "{"],
    ["no plugins", '{ "name": "a" }'],
    ["one plugin's config", '{ "name": "a", "type": "flannel" }'],
    [
      "a version of the future",
      '{ "name": "a", "cniVersion": "9.0.0", "plugins": [{ "type": "bridge" }] }',
    ],
    ["a wrong value", '{ "name": "a", "plugins": [{ "type": "bridge", "mtu": "big" }] }'],
  ])("a conflist that is %s: nothing is done", async ([, text = ""]) => {
    await using node = await createSandbox();
    const env = { CNI_NETWORK_CONFIG: text };
    const result = await node.exec(`${bin}/install-cni`, [], { env });
    expect(result).toMatchObject({
      exitCode: 1,
      stderr: expect.stringMatching(/^install-cni: Cannot /),
    });
    expect(await node.exists(BIN)).toBe(false);
    expect(await node.exists(CONF)).toBe(false);
  });

  test("a read-only folder for the conflist: the executables stay as they are", async () => {
    await using node = await createSandbox();
    await node.output(await makeVariant(node));
    const stamps = `stat -c '%n %i %y' ${BIN}/*`;
    const before = await node.sh(stamps);
    await node.sh(`rm ${CONFLIST}; mount --bind ${CONF} ${CONF}; mount -o remount,bind,ro ${CONF}`);
    const result = await node.exec(`${bin}/install-cni`);
    expect(result).toMatchObject({ exitCode: 1, stderr: expect.stringContaining("EROFS") });
    expect(await node.sh(stamps)).toBe(before);
    expect(await node.list(BIN)).toEqual([MANIFEST, ...FILES]);
  });
});

describe("I3: what others have put there", () => {
  test("a conflist that wins by name, and a network with the same subnet", async () => {
    await using node = await createSandbox();
    await node.writeFile(`${CONF}/05-other.conflist`, '{ "name": "other", "plugins": [] }');
    await node.writeFile(`${CONF}/99-old.conf`, '{ "name": "old", "type": "flannel" }');
    const { exitCode, stderr } = await node.exec(`${bin}/install-cni`);
    expect(exitCode).toBe(0);
    expect(stderr).toContain(`${CONF}/05-other.conflist comes before 10-flannel.conflist`);
    expect(stderr).toContain(`${CONF}/99-old.conf is another network with the same subnet`);
  });

  test("what somebody has changed is left", async () => {
    await using node = await createSandbox();
    await node.output(`${bin}/install-cni`);
    await node.sh(`echo mine >${BIN}/tuning; rm ${BIN}/bridge; echo mine >${BIN}/bridge`);
    const report = await node.output(`${bin}/install-cni`, ["--uninstall"]);
    expect(report).toContain(`left      ${BIN}/bridge`);
    expect(await node.list(BIN)).toEqual(["bridge", "tuning"]);
  });
});

/** The system calls before which a run is killed, one at a time. */
const CALLS = ["rename", "link", "unlink", "fsync", "chmod", "mkdir"];
/** The system calls that give files their names: see isBun. */
const FEW_CALLS = isBun ? ["rename", "link", "unlink"] : ["rename"];

/** A build without the native client. */
async function buildPlain(): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), "plain-"));
  const target = isBun ? "bin" : "pkg";
  await execa(process.execPath, ["scripts/build/main.ts", target, `--out=${folder}`]);
  return folder;
}

describe.runIf(CLIENT !== undefined && (isBun || soak))("from one form to the other", () => {
  let plain: string;
  beforeAll(async () => {
    plain = await buildPlain();
    return () => {
      rmSync(plain, { recursive: true });
    };
  });

  test("and back, and says which it is", async () => {
    await using node = await createSandbox();
    await node.sh(`mkdir -p /run/plain && cp ${plain}/flannel /run/plain/install-cni`);
    const toPlain = await node.output("/run/plain/install-cni");
    expect(toPlain).toContain("The plugins are the executable itself.");
    expect(await node.list(BIN)).toEqual([MANIFEST, ...PLUGINS]);
    const toClient = await node.output(`${bin}/install-cni`);
    expect(toClient).toContain("The plugins are the agent's native client, beside flannel-cni");
    await expectWhole(node);
    const back = await node.output("/run/plain/install-cni");
    expect(back).toContain(`removed   ${BIN}/${FULL}`);
    expect(await node.list(BIN)).toEqual([MANIFEST, ...PLUGINS]);
    expect(await node.sh(`wc -l <${BIN}/${MANIFEST}`)).toBe("5\n");
    expect(await node.output("/run/plain/install-cni")).toContain("There was nothing to do.");
    await node.output(`${bin}/install-cni`);
    await node.output("/run/plain/install-cni", ["--uninstall"]);
    expect([await node.list(BIN), await node.list(CONF)]).toEqual([[], []]);
  });

  test("what somebody has put in the executable's place stays", async () => {
    await using node = await createSandbox();
    await node.sh(`mkdir -p /run/plain && cp ${plain}/flannel /run/plain/install-cni`);
    await node.output(`${bin}/install-cni`);
    await node.sh(`rm ${BIN}/${FULL}; echo mine >${BIN}/${FULL}`);
    expect(await node.output("/run/plain/install-cni")).toContain(`left      ${BIN}/${FULL}`);
    expect(await node.readFile(`${BIN}/${FULL}`)).toBe("mine\n");
    expect(await node.output("/run/plain/install-cni")).toContain("There was nothing to do.");
  });

  test("killed at any moment, the plugins run", { timeout: 400_000 }, async () => {
    await using node = await createSandbox();
    await node.sh(`mkdir -p /run/plain && cp ${plain}/flannel /run/plain/install-cni`);
    const forms = ["/run/plain/install-cni", `${bin}/install-cni`];
    let kills = 0;
    for (const [from = "", to = ""] of [forms, forms.toReversed()]) {
      for (const call of soak ? CALLS : ["rename"]) {
        for (let nth = 2; nth < 30; nth += soak ? 1 : 6) {
          await node.output(from);
          const inject = `inject=/^f?${call}(at|at2)?$:signal=KILL:when=${nth}`;
          const { exitCode } = await node.exec("strace", [
            "-f",
            "-o",
            "/dev/null",
            "-e",
            inject,
            to,
          ]);
          if (exitCode === 0) break;
          kills++;
          for (const plugin of PLUGINS) {
            await node.sh(`CNI_COMMAND=VERSION ${BIN}/${plugin} </dev/null`);
          }
          await node.output(to);
          const files = to === forms[1] ? FILES : PLUGINS;
          expect(await node.list(BIN), `${call} ${nth}`).toEqual([MANIFEST, ...files]);
        }
      }
    }
    expect(kills).toBeGreaterThan(2);
  });
});

describe("I1: killed at any moment", () => {
  testSome(["on a fresh node", "during an upgrade"])("%s", { timeout: 400_000 }, async (when) => {
    await using node = await createSandbox();
    const upgrade = when === "during an upgrade";
    // Files are never written in place, so links are enough to restore the old version.
    await node.output(await makeVariant(node));
    if (CLIENT !== undefined) {
      // The client of another version.
      await node.sh(`
        cd ${BIN}
        cp bridge other
        printf x | dd of=other bs=1 seek=15 conv=notrunc status=none
        for plugin in ${PLUGINS.join(" ")}; do ln -f other $plugin; done
        rm other
        sha256sum ${FILES.join(" ")} >${MANIFEST}
      `);
    }
    await node.sh(`cp -al ${BIN} ${BIN}.old; cp -al ${CONF} ${CONF}.old`);
    let kills = 0;
    for (const call of soak ? CALLS : FEW_CALLS) {
      // Each of the two tests has every fourth.
      for (let nth = upgrade && !soak ? 3 : 1; nth < 20; nth += soak ? 1 : 4) {
        await node.sh(`rm -rf ${BIN} ${CONF}`);
        if (upgrade) await node.sh(`cp -al ${BIN}.old ${BIN}; cp -al ${CONF}.old ${CONF}`);
        const inject = `inject=/^f?${call}(at|at2)?$:signal=KILL:when=${nth}`;
        const traced = ["-f", "-o", "/dev/null", "-e", inject, `${bin}/install-cni`];
        const { exitCode } = await node.exec("strace", traced);
        if (exitCode === 0) break;
        kills++;
        const context = `killed before ${call} ${nth}`;
        expect(exitCode, context).toBe(137);
        // The old or the new version, but whole. Where there is a conflist, its plugins are there.
        const has = new Set((await node.exists(BIN)) ? await node.list(BIN) : []);
        const complete = FILES.every((plugin) => has.has(plugin));
        expect(complete || (!upgrade && !(await node.exists(CONFLIST))), context).toBe(true);
        for (const plugin of PLUGINS.filter((name) => has.has(name))) {
          await node.sh(`CNI_COMMAND=VERSION ${BIN}/${plugin} </dev/null`);
        }
        if (kills % 2 === 0) {
          await node.output(`${bin}/install-cni`, ["--uninstall"]);
          expect(await node.sh(`find ${BIN} ${CONF} -type f 2>/dev/null || true`), context).toBe(
            "",
          );
        } else {
          await node.output(`${bin}/install-cni`);
          await expectWhole(node);
        }
      }
    }
    // The client's names are no links.
    expect(kills).toBeGreaterThan((isBun ? 1 : 0) + (isBun && CLIENT === undefined ? 1 : 0));
    await node.sh(`
      cd ${BIN}.old
      [ $(${eachFileOnce} | wc -l) = ${contents.length} ]
      head -n 1 ${MANIFEST} | sha256sum --check --quiet
    `);
  });
});
