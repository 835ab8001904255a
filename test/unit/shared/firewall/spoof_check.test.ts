import { describe, expect, it } from "vitest";

import { plainIfname } from "../../../../shared/firewall/names.ts";
import {
  addSpoofCheck,
  removeSpoofCheck,
  spoofJumps,
} from "../../../../shared/firewall/spoof_check.ts";

describe("an interface's name in nft's commands", () => {
  it("is as it is where nothing in it means anything", () => {
    expect(plainIfname("net1.7_a-b")).toBe("net1.7_a-b");
  });

  it.each(['a"b', "a;b", "a{b}", "a\\b", "a$b", "ä", "a#b"])(
    "is harmless if it is %j",
    (ifname) => {
      expect(plainIfname(ifname)).toMatch(/^[\w.-]+$/);
      expect(plainIfname(ifname)).not.toBe(plainIfname("ab"));
      const commands = addSpoofCheck({ containerId: "pod1", ifname }, "veth1", "02:00:00:00:00:01");
      const plain = addSpoofCheck(
        { containerId: "pod1", ifname: plainIfname(ifname) },
        "veth1",
        "02:00:00:00:00:01",
      );
      expect(commands).toBe(plain);
    },
  );
});

describe("spoofJumps", () => {
  it("reads which link leads to which chain", () => {
    const listed = `table bridge nat {
	chain PREROUTING { # handle 1
		type filter hook prerouting priority -300; policy accept;
		iifname "veth1" jump cni-br-iface-pod1-eth0 comment "macspoofchk-pod1-eth0" # handle 4
		iifname "veth2" drop # handle 5
	}
}`;
    expect(spoofJumps(listed)).toEqual([
      { link: "veth1", chain: "cni-br-iface-pod1-eth0", handle: "4" },
    ]);
    expect(removeSpoofCheck("cni-br-iface-pod1-eth0", ["4"]).split("\n")[0]).toBe(
      "delete rule bridge nat PREROUTING handle 4",
    );
  });
});
