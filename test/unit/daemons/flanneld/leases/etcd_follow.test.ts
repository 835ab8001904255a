import { expect, onTestFinished, test, vi } from "vitest";

import { followEntries } from "../../../../../daemons/flanneld/leases/etcd_follow.ts";
import { Failure } from "../../../../../shared/base/failure.ts";
import type { WatchResponse } from "../../../../../shared/etcd/messages.ts";

const answer = (more: Partial<WatchResponse>): WatchResponse => ({
  revision: 0,
  created: false,
  canceled: false,
  compactRevision: 0,
  cancelReason: "",
  events: [],
  ...more,
});

const broken = () => new Failure("io", "Cannot reach etcd.", "Start it.");

/**
 * Follows entries whose watches answer with these, each until it ends, and stops after the last.
 * @returns what was asked of etcd and told to the follower.
 */
async function follow(
  watches: readonly (readonly WatchResponse[])[],
  failingLists = 0,
  onEvents: () => void = () => undefined,
) {
  const controller = new AbortController();
  const log: string[] = [];
  let lists = 0;
  let watched = 0;
  await followEntries(
    {
      watch: async (from, onResponse) => {
        log.push(`watch from ${from}`);
        const responses = watches[watched++] ?? [];
        if (watched > watches.length) controller.abort(new Error("over"));
        for (const response of responses) onResponse(response);
        throw broken();
      },
    },
    {
      list: async (isRestored) => {
        log.push(isRestored ? "list what was restored" : "list");
        if (lists++ < failingLists) throw broken();
        return 10 * lists;
      },
      onEvents: (events) => {
        log.push(`${events.length} events`);
        onEvents();
      },
      onFailure: ({ message }) => log.push(message),
    },
    controller.signal,
  ).catch(() => undefined);
  return log;
}

const failed = "Cannot reach etcd.";

test("goes on from the last revision that it has heard of", async () => {
  expect(await follow([[answer({ revision: 12 }), answer({ revision: 15 })], []])).toEqual([
    ...["list", "watch from 11", "0 events", "0 events", failed],
    ...["watch from 16", failed, "watch from 16"],
  ]);
});

test("never goes back to an earlier revision", async () => {
  expect(await follow([[answer({ revision: 15 }), answer({ revision: 12 })]])).toEqual([
    ...["list", "watch from 11", "0 events", "0 events", failed, "watch from 16"],
  ]);
});

test("lists again where etcd has forgotten what came in between, and only there", async () => {
  expect(
    await follow([
      [answer({ compactRevision: 40 })],
      [answer({ canceled: true, cancelReason: "x" })],
    ]),
  ).toEqual([
    ...["list", "watch from 11"],
    "Cannot watch the subnets in etcd: etcd has forgotten what came before 40.",
    ...["list", "watch from 21", "Cannot watch the subnets in etcd: x.", "watch from 21"],
  ]);
});

test("lists again at once where etcd is back at an earlier state, and once more later", async () => {
  const later = new AbortController();
  const timeout = vi.spyOn(AbortSignal, "timeout").mockReturnValue(later.signal);
  onTestFinished(() => {
    timeout.mockRestore();
  });
  const watches = [[answer({ created: true, revision: 9 })], [answer({ revision: 21 })], []];
  expect(await follow(watches, 0, () => later.abort())).toEqual([
    ...["list", "watch from 11", "Cannot watch the subnets in etcd: etcd is back at revision 9."],
    ...["list what was restored", "watch from 21", "0 events"],
    ...["list", "watch from 31", failed, "watch from 31"],
  ]);
});

test("lists until that works", async () => {
  expect(await follow([], 2)).toEqual([
    ...["list", failed, "list", failed, "list", "watch from 31"],
  ]);
});

test("throws what is no failure of etcd", async () => {
  const follower = {
    list: async () => Promise.reject(new TypeError("a defect")),
    onEvents: () => undefined,
    onFailure: () => undefined,
  };
  const registry = { watch: async () => Promise.reject(broken()) };
  const { signal } = new AbortController();
  await expect(followEntries(registry, follower, signal)).rejects.toThrow("a defect");
});
