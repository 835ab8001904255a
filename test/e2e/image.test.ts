/** The init container's image is reproducible and complete. */
import { createHash } from "node:crypto";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { execa } from "execa";
import { expect, onTestFinished, test } from "vitest";
import { binDir, createSandbox } from "../helpers/cni.ts";
import { isBun, soak } from "../helpers/form.ts";

async function makeImage(folder: string): Promise<string> {
  // Level 6 takes three times as long, and changes nothing that is asserted on.
  const made = ["scripts/release/image.ts", "--bin", binDir(), "--out", folder, "--level", "1"];
  const { stdout } = await execa(process.execPath, made);
  expect(stdout).toMatch(/flannel-cni-.*\.tar: \d+ MB, unpacked \d+ MB/);
  const archive = readdirSync(folder).find((name) => name.endsWith(".tar")) ?? "";
  return join(folder, archive);
}

function digest(path: string): string {
  return createHash("sha256").update(readFileSync(path)).digest("hex");
}

test("the image is reproducible, refers to what it holds, and its executable runs alone", async () => {
  // Beside the builds, because /tmp may be too small for hundreds of megabytes.
  const folder = mkdtempSync("dist/.work/image-");
  onTestFinished(() => {
    rmSync(folder, { recursive: true });
  });
  const first = await makeImage(join(folder, "first"));
  if (isBun || soak) {
    const second = await makeImage(join(folder, "second"));
    expect(digest(second)).toBe(digest(first));
  }

  const blobs = join(folder, "blobs");
  await execa("mkdir", [blobs]);
  await execa("tar", ["-xf", first, "-C", blobs]);
  const names = readdirSync(join(blobs, "blobs/sha256"));
  expect(names).toHaveLength(3);
  for (const name of names) expect(digest(join(blobs, "blobs/sha256", name))).toBe(name);
  const index = readFileSync(join(blobs, "index.json"), "utf8");
  expect(names.some((name) => index.includes(name))).toBe(true);

  await using sandbox = await createSandbox();
  const root = join(process.cwd(), folder, "first/root");
  // As in an init container, with the node's two folders mounted.
  await sandbox.sh(`
    cd ${root}
    mkdir -p proc opt/cni/bin etc/cni/net.d /opt/cni/bin /etc/cni/net.d
    mount -t proc proc proc
    mount --bind /opt/cni/bin opt/cni/bin
    mount --bind /etc/cni/net.d etc/cni/net.d
  `);
  const installed = await sandbox.output("chroot", [root, "/flannel", "install-cni"]);
  expect(installed).toContain("/opt/cni/bin/portmap");
  expect(await sandbox.list("/etc/cni/net.d")).toContain("10-flannel.conflist");
  const version = await sandbox.exec("/opt/cni/bin/loopback");
  expect(version).toMatchObject({ exitCode: 1, stdout: "" });
  expect(version.stderr).toContain("called as loopback");
  await sandbox.sh(`
    rm /opt/cni/bin/*
    chroot ${root} /bin/cp -f /flannel /opt/cni/bin/flannel
    test -x /opt/cni/bin/flannel
  `);
});
