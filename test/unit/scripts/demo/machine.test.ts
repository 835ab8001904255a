import { expect, test } from "vitest";
import { newTraces } from "../../../../scripts/demo/machine.ts";

const before = [
  "2: eth0    inet 192.0.2.1/24 scope global eth0",
  "ip saddr 10.244.213.0/24 counter packets 3 bytes 180 masquerade",
].join("\n");

test.for([
  ["2: cni0    inet 10.244.213.1/24 brd 10.244.213.255 scope global cni0"],
  ["10.244.213.0/24 dev cni0 proto kernel scope link src 10.244.213.1"],
  ["fd00:10:244:d5::/64 dev cni0 proto kernel metric 256"],
  ['-A CNI-DN-1234 -p tcp -m tcp --dport 8080 -j DNAT --to-destination "10.244.213.2:80"'],
])("%s is the demonstration's", ([line = ""]) => {
  expect(newTraces(before, `${before}\n  ${line}`)).toEqual([line]);
});

test("what other programs do at the same time is not", () => {
  const after = [
    "3: cni0    inet 10.244.1.1/24 scope global cni0",
    "10.244.1.0/24 dev cni0 proto kernel scope link src 10.244.1.1",
    "ip saddr 10.244.213.0/24 counter packets 4 bytes 240 masquerade",
  ].join("\n");
  expect(newTraces(before, after)).toEqual([]);
  expect(newTraces(after, "")).toEqual([]);
});
