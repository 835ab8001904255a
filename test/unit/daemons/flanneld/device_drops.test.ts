import { expect, test } from "vitest";

import { deviceDrops } from "../../../../daemons/flanneld/device_drops.ts";

const table = `Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:     168       2    0    1    0     0          0         0      168       2    0    2    0     0       0          0
flannel.1:1234567890       7    0    3    0     0          0         0      420       5    0   42    0     0       0          0
`;

test("drops are those of flannel's devices, each way", () => {
  expect(deviceDrops(["flannel.1", "flannel-v6.1"], table)).toEqual([
    { labels: { device: "flannel.1", direction: "receive" }, value: 3 },
    { labels: { device: "flannel.1", direction: "transmit" }, value: 42 },
  ]);
});
