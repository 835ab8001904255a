import { describe, expect, it } from "vitest";
import {
  expandVariables,
  extension,
  readExtensionCommands,
} from "../../../../../daemons/flanneld/backends/extension.ts";
import { Failure } from "../../../../../shared/base/failure.ts";

describe("the commands of a config", () => {
  it("are split at white space", () => {
    const commands = readExtensionCommands({
      Type: "extension",
      PreStartupCommand: "/bin/a  b\tc=d|e ",
      SubnetAddCommand: "",
    });
    expect(commands).toEqual({
      preStartup: ["/bin/a", "b", "c=d|e"],
      ...{ postStartup: [], subnetAdd: [], subnetRemove: [] },
    });
  });

  // flannel's documentation has these, from when commands were a shell's.
  it.each([
    ['ip route add "$SUBNET" via "$PUBLIC_IP"', '"\\""'],
    ["export VNI=1; ip link show", '"export"'],
    ["ip link del x 2>/dev/null", '"2>"'],
    ["read MAC; ip link show", '";"'],
    ["ip link add x && cat y", '"&"'],
    ["echo `hostname`", '"`"'],
    ["echo $(hostname)", '"$("'],
    ["cat | sh", '"|"'],
    ["a > b", '">"'],
  ])("are refused where they need a shell: %s", (command, found) => {
    expect(() => readExtensionCommands({ SubnetRemoveCommand: command })).toThrow(
      expect.objectContaining({
        message: `Cannot use Backend.SubnetRemoveCommand: flanneld runs commands without a shell, since version 0.28.2, so ${found} has no meaning in it.`,
        advice: expect.stringContaining("script"),
      }),
    );
    expect(() => readExtensionCommands({ SubnetRemoveCommand: command })).toThrow(Failure);
  });
});

// As Go's os.Expand has expanded them.
it.each([
  ["$NODE_NAME", "n1"],
  ["${NODE_NAME}x", "n1x"],
  ["a$NODE_NAME.b", "an1.b"],
  ["$NODE_NAMEx", ""],
  ["$$", ""],
  ["$", "$"],
  ["a$/b", "a$/b"],
  ["$1a", "a"],
  ["${}", ""],
  ["${x", "x"],
  ["$-", ""],
  ["${1}", ""],
  ["no", "no"],
])("the variables in %s are expanded", (text, expanded) => {
  expect(expandVariables(text, { NODE_NAME: "n1" })).toBe(expanded);
});

it("publishes what the first command has printed", () => {
  const external = {
    ...{ name: "eth0", index: 2, mtu: 1400, address: undefined, addressV6: undefined },
    ...{ publicIp: undefined, publicIpv6: undefined },
  };
  const backend = extension({ ipv4: undefined, ipv6: undefined }, "text");
  expect(backend.mtu(external)).toBe(1400);
  expect(backend.attributes(external, { ipv4: "", ipv6: "" })).toMatchObject({
    ...{ backendType: "extension", backendData: "text", backendV6Data: undefined },
  });
});
