import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  rmdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { once } from "node:events";
import { setTimeout as delay } from "node:timers/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it, onTestFinished, vi } from "vitest";

import { startHealthServer } from "../../../../shared/daemon/health_server.ts";
import { askStatus, serveStatus } from "../../../../shared/daemon/status_socket.ts";

describe("a health server that cannot listen", () => {
  it("says so once, and listens as soon as it can", async () => {
    const blocker = createServer();
    blocker.listen(0, "127.0.0.1");
    await once(blocker, "listening");
    const { port } = blocker.address() as AddressInfo;
    const reports: (string | undefined)[] = [];
    let waits: string[] = [];
    const health = { notReady: () => undefined, waits: () => waits, metrics: () => "" };
    const report = (problem: string | undefined) => void reports.push(problem);
    const server = startHealthServer("x", { host: "127.0.0.1", port }, health, report);
    onTestFinished(server.close);
    await vi.waitFor(() => expect(reports).toHaveLength(1));
    expect(reports[0]).toMatch(`Cannot answer at 127.0.0.1, port ${port}: `);
    // Long enough for another attempt.
    await delay(400);
    blocker.close();
    await vi.waitFor(() => expect(reports).toHaveLength(2), { timeout: 10_000 });
    expect(reports[1]).toBeUndefined();
    const ask = async () => (await fetch(`http://127.0.0.1:${port}/readyz`)).text();
    expect(await ask()).toBe("x is ready");
    waits = ["Cannot a.", "Cannot b."];
    expect(await ask()).toBe("x is ready, and waits:\nCannot a.\nCannot b.\n");
  });
});

function startStatus() {
  const folder = mkdtempSync(join(tmpdir(), "status-"));
  const path = join(folder, "flannel", "sock");
  const reports: (string | undefined)[] = [];
  const serve = (text: string) => {
    const server = serveStatus(
      path,
      () => text,
      (problem) => void reports.push(problem),
    );
    onTestFinished(server.close);
    return server;
  };
  onTestFinished(() => {
    rmSync(folder, { recursive: true });
  });
  return { folder, path, reports, serve };
}

describe("a status socket that cannot be made", () => {
  it("makes its folder, again until that works", async () => {
    const { folder, path, reports, serve } = startStatus();
    writeFileSync(join(folder, "flannel"), "");
    serve("state");
    await vi.waitFor(() => expect(reports).toHaveLength(1));
    rmSync(join(folder, "flannel"));
    await vi.waitFor(() => expect(reports).toHaveLength(2), { timeout: 10_000 });
    expect(reports[1]).toBeUndefined();
    expect(await askStatus(path)).toBe("state");
    expect(statSync(path).mode & 0o777).toBe(0o600);
  });

  it("waits where another process answers until that ends", async () => {
    const { path, reports, serve } = startStatus();
    const first = serve("first");
    await vi.waitFor(async () => expect(await askStatus(path)).toBe("first"));
    serve("second");
    await vi.waitFor(() =>
      expect(reports).toEqual([`Cannot answer at ${path}: another process does.`]),
    );
    expect(await askStatus(path)).toBe("first");
    first.close();
    await vi.waitFor(async () => expect(await askStatus(path)).toBe("second"), { timeout: 10_000 });
  });

  it("waits where something else is in its place until that is gone", async () => {
    const { path, reports, serve } = startStatus();
    mkdirSync(path, { recursive: true });
    serve("state");
    await vi.waitFor(() => expect(reports).toHaveLength(1));
    expect(existsSync(path)).toBe(true);
    rmdirSync(path);
    await vi.waitFor(async () => expect(await askStatus(path)).toBe("state"), { timeout: 10_000 });
  });
});
