/** Addresses: how many are left, and which are nobody's. */
import { range, reservation, testFaults, testFine } from "../view.ts";

testFaults([
  {
    name: "a range is nearly full",
    id: "range-nearly-full",
    changes: {
      rangeSets: [range("10.244.1.0/24", "10.244.1.1", "10.244.1.1", "10.244.1.12")],
      starting: new Set(["more"]),
      reserved: [2, 3, 4, 5, 6, 7, 8, 9, 10, 11].map((last) =>
        reservation(`10.244.1.${last}`, last < 4 ? `pod${last - 1}` : "more"),
      ),
    },
    what: "10 of the 11 addresses of 10.244.1.1-10.244.1.12 are reserved",
    fix: "maxPods",
  },
  {
    name: "a range is full",
    id: "range-full",
    severity: "error",
    changes: { rangeSets: [range("10.244.1.0/24", "10.244.1.1", "10.244.1.1", "10.244.1.3")] },
    what: "2 of the 2 addresses",
    fix: "cnitool ps --valid | cnitool gc cbr0 --valid-file - --dry-run",
  },
  {
    name: "a reservation is nobody's",
    id: "leaked-address",
    changes: {
      reserved: [
        ...["10.244.1.2 pod1", "10.244.1.3 pod2", "10.244.1.99 lost"].map((text) => {
          const [address = "", id = ""] = text.split(" ");
          return reservation(address, id);
        }),
      ],
    },
    what: "10.244.1.99 (lost)",
    fix: "cnitool ps --valid",
  },
]);

testFine([
  [
    "a container that is being added",
    {
      starting: new Set(["new"]),
      reserved: [reservation("10.244.1.9", "new")],
      firewall: { owners: [{ network: "cbr0", containerId: "new", where: "" }] },
      bridge: { strayPorts: [{ name: "v9", peer: undefined }] },
    },
  ],
]);
