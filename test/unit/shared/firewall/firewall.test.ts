import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";

import type { FailureKind } from "../../../../shared/base/failure.ts";
import { Firewall } from "../../../../shared/firewall/firewall.ts";
import type { NetlinkSocket } from "../../../../shared/netlink/socket.ts";
import type { RunOptions, RunResult } from "../../../../shared/runtime/sys.ts";
import { fakeSys } from "../runtime/fake_sys.ts";

/** A node whose every command does this; and what was run there. */
function node(answer: Partial<RunResult>, env: Readonly<Record<string, string>> = {}) {
  const runs: { command: string; options: RunOptions }[] = [];
  const sys = fakeSys({
    env,
    run: (name, args, options) => {
      runs.push({ command: [name, ...args].join(" "), options });
      return { status: 0, stdout: "", stderr: "", failure: undefined, ...answer };
    },
  });
  return { firewall: new Firewall(sys), runs, commands: () => runs.map(({ command }) => command) };
}

function refused(stderr: string, status = 1): Partial<RunResult> {
  return { status, stderr };
}

const missing: Partial<RunResult> = { status: undefined, failure: "ENOENT" };

/** What an error looks like. */
function failure(kind: FailureKind, message: string): object {
  const error: object = expect.objectContaining({
    kind,
    message: expect.stringContaining(message),
  });
  return error;
}

const failed = "iptables-nft-restore: line 2 failed: No chain/target/match by that name.\n";

describe("the tools", () => {
  it("are run once each, with their input, a bound and a PATH", () => {
    const { firewall, runs, commands } = node({ stdout: "out" });
    firewall.restore(4, "text");
    firewall.restore(6, "text");
    expect(firewall.save(4, "nat")).toBe("out");
    expect(firewall.save(6, "nat")).toBe("out");
    expect(firewall.nft("commands")).toBe(true);
    expect(firewall.nftList(["list", "tables"])).toBe("out");
    expect(firewall.refusedLine(6, "text")).toBeUndefined();
    expect(commands()).toEqual([
      "iptables-restore --noflush -w 10",
      "ip6tables-restore --noflush -w 10",
      "iptables-save -t nat",
      "ip6tables-save -t nat",
      "nft -f -",
      "nft -a list tables",
      "ip6tables-restore --noflush -w 10",
    ]);
    expect(runs[0]?.options).toMatchObject({
      input: "text",
      timeout: 20_000,
      env: {
        PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        // Messages are read.
        LC_ALL: "C",
      },
    });
  });

  it("get the caller's environment", () => {
    const { firewall, runs } = node({}, { PATH: "/opt/bin", LC_ALL: "de_DE", XTABLES: "x" });
    firewall.restore(4, "");
    expect(runs[0]?.options.env).toEqual({ PATH: "/opt/bin", LC_ALL: "C", XTABLES: "x" });
  });

  it("are named where they are missing", () => {
    const { firewall } = node(missing);
    for (const [command, run] of [
      ["iptables-restore", () => firewall.restore(4, "")],
      ["ip6tables-restore", () => firewall.refusedLine(6, "")],
      ["nft", () => firewall.nft("")],
    ] as const) {
      expect(run).toThrow(failure("firewall", `${command} is not installed`));
    }
    expect(firewall.save(4, "nat")).toBeUndefined();
    expect(firewall.nftList([])).toBeUndefined();
  });

  it.each<Partial<RunResult>>([
    refused("Another app is currently holding the xtables lock. Stopped waiting after 1s.\n", 4),
    { status: undefined, failure: "timeout" },
  ])("that wait too long for the lock are to be called again (%j)", (answer) => {
    const { firewall } = node(answer, { XTABLES_LOCKFILE: "/nowhere/lock" });
    const message =
      "iptables-restore did not get the xtables lock in 10 seconds; another process holds it";
    expect(() => {
      firewall.restore(4, "");
    }).toThrow(failure("busy", message));
    expect(() => firewall.refusedLine(4, "")).toThrow(failure("busy", message));
  });

  it.each<[Partial<RunResult>, message: string]>([
    [refused(failed), "iptables-restore says iptables-nft-restore: line 2 failed: No chain"],
    [refused("first\nsecond\n"), "iptables-restore says first."],
    [refused("", 3), "iptables-restore says status 3."],
    [{ status: undefined, failure: "SIGKILL" }, "iptables-restore says SIGKILL."],
    [{ status: undefined, failure: "output" }, "iptables-restore says output."],
  ])("are quoted when they refuse (%j)", (answer, message) => {
    const { firewall } = node(answer);
    expect(() => {
      firewall.restore(4, "");
    }).toThrow(failure("firewall", message));
  });
});

describe("save", () => {
  it.each([
    "Table `nat' does not exist\n",
    "iptables-save v1.8.9 (legacy): Cannot initialize: Table does not exist (do you need to insmod?)\n",
  ])("is content with a kernel without the table: %j", (stderr) => {
    expect(node(refused(stderr)).firewall.save(4, "nat")).toBeUndefined();
  });

  it("does not take any other failure for that", () => {
    const { firewall } = node(refused("iptables-save: Permission denied\n"));
    expect(() => firewall.save(4, "nat")).toThrow(failure("firewall", "Permission denied"));
  });
});

describe("nft", () => {
  const absent = "/dev/stdin:1:16-21: Error: Could not process rule: No such file or directory\n";
  const wrong = "/dev/stdin:1:15-15: Error: syntax error, unexpected newline\n";

  it("tells what is not there from what is wrong", () => {
    expect(node(refused(absent)).firewall.nft("")).toBe(false);
    expect(node(refused(absent)).firewall.nftList([])).toBeUndefined();
    expect(() => node(refused(wrong)).firewall.nft("")).toThrow(
      failure("firewall", "syntax error"),
    );
    expect(() => node(refused(wrong)).firewall.nftList([])).toThrow(
      failure("firewall", "syntax error"),
    );
  });
});

describe("refusedLine", () => {
  it.each([
    // iptables-nft and iptables-legacy 1.8.9.
    [failed, 2],
    ["iptables-restore: line 7 failed\n", 7],
    [
      "iptables-restore v1.8.9 (legacy): multiple -p flags not allowed\nError occurred at line: 12\n",
      12,
    ],
  ])("reads it from %j", (stderr, line) => {
    expect(node(refused(stderr)).firewall.refusedLine(4, "")).toBe(line);
  });

  it("does not make one up", () => {
    const { firewall } = node(refused("iptables-restore: unable to initialize table 'nat'\n"));
    expect(() => firewall.refusedLine(4, "")).toThrow(failure("firewall", "unable to init"));
  });
});

describe("a process that stays", () => {
  it("goes on with its own socket, and refuses the iptables that takes processes", () => {
    const socket = { closed: 0, close: () => void socket.closed++ };
    const sys = fakeSys({ env: { PATH: legacyFolder() } });
    const firewall = new Firewall(sys, {
      netfilter: () => socket as unknown as NetlinkSocket,
      refuseLegacy: () => {
        throw new RangeError("not here");
      },
    });
    expect(() => firewall.variant(4)).toThrow("not here");
    firewall.close();
    expect(socket.closed).toBe(0);
  });
});

/** A folder whose iptables is iptables-legacy. */
function legacyFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "firewall-"));
  onTestFinished(() => {
    rmSync(folder, { recursive: true });
  });
  writeFileSync(join(folder, "xtables-legacy-multi"), "", { mode: 0o755 });
  symlinkSync("xtables-legacy-multi", join(folder, "iptables-restore"));
  return folder;
}
