import { describe, expect, it } from "vitest";

import { daemonFindings } from "../../../../../daemons/flanneld/commands/check.ts";
import { formatStatus, isWell } from "../../../../../daemons/flanneld/commands/status.ts";
import type { Snapshot } from "../../../../../daemons/flanneld/snapshot.ts";

const now = 1_000_000_000;
const repairs = { device: 0, route: 0, neighbour: 0, fdb: 0, wireguard: 0 };
const well: Snapshot = {
  version: "1.2.3",
  pid: 42,
  waits: [],
  subnets: ["10.244.1.0/24", "fd00:244:0:1::/64"],
  leaseExpiry: now + 23 * 3_600_000,
  interface: "eth0",
  publicIps: ["10.77.0.11", "fd77::11"],
  backend: "vxlan",
  mtu: 1430,
  leases: { lastEvent: now - 3000, errors: 0 },
  overlay: {
    ...{ wanted: 4, programmed: 4, ignored: 0, losses: 0, failed: [], refused: [] },
    ...{ devices: ["flannel.1", "flannel-v6.1"], problems: [], complete: true },
    ...{ failure: undefined, lastSync: now, repairs, convergence: 12 },
  },
  refused: [],
  traffic: { inPlace: true, problem: undefined, repairs: 0, failedLooks: 0 },
};
const ill: Snapshot = {
  ...{ version: "1.2.3", pid: 42, subnets: [], publicIps: [] },
  waitsFor: "this node has no subnet yet",
  waits: ["Cannot reach the API.", "There is no eth0."],
  leases: { problem: "Cannot reach the API.", errors: 7 },
  overlay: {
    ...{
      wanted: 2,
      programmed: 1,
      ignored: 0,
      repairs,
      convergence: undefined,
      losses: 0,
      devices: [],
      complete: false,
    },
    failed: [{ id: "n2", subnet: "10.244.2.0/24", problem: "the kernel says no", attempts: 3 }],
    refused: [{ id: "n3", subnet: "10.244.3.0/24", problem: "publishes no VTEP MAC", attempts: 0 }],
    ...{ problems: ["There is no eth0."], failure: undefined, lastSync: undefined },
    unencrypted: ["n5"],
  },
  refused: [{ id: "n4", problem: "its subnet is outside" }],
  traffic: {
    inPlace: false,
    problem: "iptables-restore is not installed.",
    repairs: 0,
    failedLooks: 0,
  },
};

describe("flanneld's status", () => {
  it("is a line for each thing where all is well", () => {
    expect(formatStatus(well, now)).toBe(`flanneld   1.2.3, process 42
Network    up
Subnet     10.244.1.0/24, fd00:244:0:1::/64, lease ends in 23 h
Interface  eth0 10.77.0.11, fd77::11
Backend    vxlan, MTU of the pods 1430
Devices    flannel.1, flannel-v6.1
Leases     heard of 3 s ago, 0 failed requests
Peers      4 wanted, 4 programmed, 0 failed, 0 refused
Rules      in place
`);
    expect(daemonFindings(well)).toEqual([]);
  });

  it("says what is wrong, peer by peer", () => {
    const text = formatStatus(ill, now);
    expect(text).toContain("Network    not up: this node has no subnet yet\n");
    expect(text).toContain("Leases     never heard of, 7 failed requests\n");
    expect(text).toContain("Peers      2 wanted, 1 programmed, 1 failed, 2 refused\n");
    expect(text.split("\n").filter((line) => line.startsWith("!"))).toEqual([
      "! Cannot reach the API.",
      "! There is no eth0.",
      "! n2 (10.244.2.0/24): the kernel says no",
      "! n5 has another backend: packets to it are not encrypted",
      "! n4 is refused: its subnet is outside",
      "! n3 is refused: publishes no VTEP MAC",
    ]);
    expect(daemonFindings(ill)).toEqual([
      "The node's network is not up: this node has no subnet yet.",
      "Cannot reach the API.",
      "There is no eth0.",
      "n2 cannot be reached: the kernel says no",
      "n4 is refused: its subnet is outside.",
      "n3 is refused: publishes no VTEP MAC.",
      "iptables-restore is not installed.",
    ]);
    expect(daemonFindings(undefined)).toHaveLength(1);
  });

  it("tells what is waited for once the network is up, and is not well then", () => {
    expect(isWell(well)).toBe(true);
    for (const problem of ["Cannot read eth0.", "Cannot answer at 0.0.0.0, port 8081: in use."]) {
      const waiting = { ...well, waits: [problem] };
      expect(isWell(waiting)).toBe(false);
      expect(formatStatus(waiting, now)).toContain(
        "Network    up, as it was last known; see below",
      );
      expect(formatStatus(waiting, now)).toContain(`\n! ${problem}\n`);
      expect(daemonFindings(waiting)).toEqual([problem]);
    }
    const traffic = { ...{ inPlace: false, repairs: 0, failedLooks: 1 }, problem: "No rules." };
    const waiting = { ...well, waits: ["No rules."], traffic };
    expect(formatStatus(waiting, now)).toContain("Rules      No rules.\n");
    expect(formatStatus(waiting, now)).not.toContain("!");
    expect(daemonFindings(waiting)).toEqual(["No rules."]);
  });
});
