/** Kept results: what cannot be read may be alive. */
import { expect, it } from "vitest";
import { parseAddress } from "../../../../../../shared/net/address.ts";
import { findingsOf } from "../../../../../../tools/cnitool/doctor/findings.ts";
import {
  attachment,
  idsOf,
  namespace,
  reservation,
  testFaults,
  testFine,
  viewOf,
} from "../view.ts";

const kept = viewOf();
const damaged = {
  file: "/var/lib/cni/results/cbr0-two-eth0",
  problem: "is empty",
  candidates: [{ network: "cbr0", containerId: "two", ifname: "eth0" }],
};
const two = {
  ...{ network: "cbr0", containerId: "two", ifname: "eth0" },
  ...{ address: parseAddress("10.244.1.9"), file: "/var/lib/cni/networks/cbr0/10.244.1.9" },
};

testFaults([
  {
    name: "results cannot be written",
    id: "not-writable",
    severity: "error",
    changes: { results: { folder: "/var/lib/cni/results", problem: "EROFS" } },
    what: "/var/lib/cni/results: EROFS",
    fix: "mount -o remount,rw /var",
  },
  {
    name: "an unreadable result is of a pod with an address",
    id: "unreadable-result",
    changes: { damaged: [{ ...damaged, reserved: [two] }] },
    what: "cbr0-two-eth0 (it is empty)",
    fix: "recreate these pods (kubectl delete pod): two",
  },
  {
    name: "a damaged result is nobody's",
    id: "damaged-result",
    changes: { damaged: [{ ...damaged, reserved: [] }] },
    what: "cbr0-two-eth0 (it is empty)",
    fix: "rm /var/lib/cni/results/cbr0-two-eth0",
  },
  {
    name: "a pod's result is missing",
    id: "missing-result",
    changes: { unrecorded: [{ ...two, namespace: namespace("/proc/7/ns/net") }] },
    what: "two (/proc/7/ns/net)",
    fix: "recreate these pods (kubectl delete pod): two",
  },
  {
    name: "a pod has gone without a DEL",
    id: "pod-gone",
    changes: { cached: [...kept.cached, attachment("pod3", "10.244.1.4", { state: "gone" })] },
    what: "pod3",
    fix: "cnitool ps --valid",
  },
  {
    name: "rules could not be deleted",
    id: "rules-left",
    changes: { leftovers: 2 },
    what: "the firewall rules of 2 containers",
    fix: "cnitool ps --valid",
  },
]);

it("nothing is collected of an unreadable result's pod", () => {
  const reserved = [...(kept.reservations?.reservations ?? []), reservation("10.244.1.9", "two")];
  const owners = [{ network: "cbr0", containerId: "two", where: "iptables -S" }];
  const found = idsOf({
    reserved,
    firewall: { owners },
    damaged: [{ ...damaged, reserved: [two] }],
    bridge: { strayPorts: [{ name: "v9", peer: namespace("/run/netns/p9") }] },
  });
  expect(found.toSorted()).toEqual(["unknown-pod", "unreadable-result"]);
});

it("a result is not deleted while there is a pod too many", () => {
  const found = findingsOf(
    viewOf({
      damaged: [{ ...damaged, reserved: [] }],
      bridge: { strayPorts: [{ name: "v9", peer: namespace("/run/netns/p9") }] },
    }),
  );
  const result = found.find(({ id }) => id.endsWith("-result"));
  expect(result?.id).toBe("unreadable-result");
});

testFine([
  [
    "a runtime that keeps no results",
    {
      cached: [],
      pods: [],
      unrecorded: [{ ...two, namespace: namespace("/run/netns/two") }],
      bridge: { strayPorts: [{ name: "v9", peer: undefined }] },
      firewall: { owners: [{ network: "cbr0", containerId: "pod1", where: "" }] },
    },
  ],
]);
