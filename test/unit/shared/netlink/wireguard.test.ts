/** WireGuard's messages, byte for byte as linux/wireguard.h says, on a little-endian machine. */
import { describe, expect, it } from "vitest";
import { Secret } from "../../../../shared/base/secret.ts";
import { parseAddress } from "../../../../shared/net/address.ts";
import { parseCidr } from "../../../../shared/net/cidr.ts";
import {
  configureWireguard,
  createWireguard,
  deleteWireguardPeer,
  DeviceReader,
  setWireguardPeer,
  wireguardDump,
} from "../../../../shared/netlink/wireguard.ts";

const family = 33;
const key = (byte: number): Buffer => Buffer.alloc(32, byte);
const hex = (byte: number): string => key(byte).toString("hex");
const peer = {
  publicKey: key(0xab).toString("base64"),
  presharedKey: undefined,
  endpoint: { address: parseAddress("10.77.0.12"), port: 51820 },
  keepalive: 25,
  allowed: [parseCidr("10.244.2.0/24")],
};

function text({ body }: { readonly body: Uint8Array }): string {
  return Buffer.from(body).toString("hex");
}

describe("what is said", () => {
  it("makes a device", () => {
    const { type, flags, body } = createWireguard({ name: "flannel-wg", mtu: 1420 });
    expect([type, flags]).toEqual([16, 0x600]);
    expect(Buffer.from(body).includes("wireguard")).toBe(true);
  });

  it("gives a device its key and port", () => {
    const configured = { privateKey: new Secret(key(0x11)), port: 51820 };
    expect(configureWireguard(family, 7, configured)).toMatchObject({ type: family, flags: 0 });
    expect(text(configureWireguard(family, 7, configured))).toBe(
      `01010000080001000700000024000300${hex(0x11)}060006006cca0000`,
    );
  });

  it("sets a peer of IPv4", () => {
    expect(text(setWireguardPeer(family, 7, peer))).toBe(
      [
        "010100000800010007000000",
        // WGDEVICE_A_PEERS, nested, and in it one peer.
        "9400088090000080",
        `24000100${hex(0xab)}`,
        `24000200${hex(0)}`,
        "0800030002000000",
        "140004000200ca6c0a4d000c0000000000000000",
        "0600050019000000",
        // WGPEER_A_ALLOWEDIPS: the family, the address and the length of its network.
        "200009801c0000800600010002000000080002000af402000500030018000000",
      ].join(""),
    );
  });

  it("sets a peer of IPv6 with a key that is shared", () => {
    const sent = text(
      setWireguardPeer(family, 7, {
        ...{ ...peer, presharedKey: new Secret(key(0x22)) },
        endpoint: { address: parseAddress("fd77::12"), port: 51821 },
        allowed: [parseCidr("10.244.2.0/24"), parseCidr("fd00:2::/64")],
      }),
    );
    expect(sent).toContain(`24000200${hex(0x22)}`);
    const address = "fd770000000000000000000000000012";
    expect(sent).toContain(`200004000a00ca6d00000000${address}00000000`);
    expect(sent).toContain("060001000a00000014000200fd000002");
  });

  it("removes a peer", () => {
    expect(text(deleteWireguardPeer(family, 7, peer.publicKey))).toBe(
      `010100000800010007000000340008803000008024000100${hex(0xab)}0800030001000000`,
    );
  });

  it("asks for a device", () => {
    expect(wireguardDump(family, 7)).toMatchObject({ type: family, flags: 0x300 });
    expect(text(wireguardDump(family, 7))).toBe("000100000800010007000000");
  });
});

/** An attribute: its length, its type, its data, all in hexadecimal. */
function attr(type: string, ...data: string[]): string {
  const length = Buffer.alloc(2);
  length.writeUInt16LE(4 + data.join("").length / 2);
  const bytes = `${length.toString("hex")}${type}00${data.join("")}`;
  return bytes.padEnd(Math.ceil(bytes.length / 8) * 8, "0");
}

function message(...attrs: string[]): { body: Buffer } {
  return { body: Buffer.from(`00010000${attrs.join("")}`, "hex") };
}

describe("what is heard", () => {
  const peers = (...attrs: string[]): string => attr("08", attr("00", ...attrs));
  const allowed = (address: string): string =>
    attr("00", attr("01", "0200"), attr("02", address), attr("03", "18"));

  it("reads a device, with a peer that goes on in the next message", () => {
    const reader = new DeviceReader();
    reader.read(
      message(
        ...[attr("01", "07000000"), attr("04", hex(0x33)), attr("06", "6cca")],
        peers(
          ...[attr("01", hex(0xab)), attr("02", hex(0)), attr("05", "1900")],
          ...[attr("06", "0100000000000000", "0500000000000000")],
          ...[attr("04", "0200", "ca6c", "0a4d000c", "0000000000000000")],
          attr("09", allowed("0af40200")),
        ),
      ),
    );
    reader.read(message(peers(attr("01", hex(0xab)), attr("09", allowed("0af40300")))));
    expect(reader.device).toEqual({
      publicKey: key(0x33).toString("base64"),
      port: 51820,
      peers: [
        {
          ...{ ...peer, lastHandshake: 1 },
          allowed: [parseCidr("10.244.2.0/24"), parseCidr("10.244.3.0/24")],
        },
      ],
    });
  });

  it("reads a device that has nothing yet", () => {
    const reader = new DeviceReader();
    reader.read(message(attr("01", "07000000"), attr("06", "0000")));
    expect(reader.device).toEqual({ publicKey: undefined, port: 0, peers: [] });
  });

  it("reads the endpoint and the shared key of a peer", () => {
    const reader = new DeviceReader();
    const address = "fd770000000000000000000000000012";
    const endpoint = attr("04", "0a00", "ca6d", "00000000", address, "00000000");
    reader.read(message(peers(attr("01", hex(0xab)), attr("02", hex(0x22)), endpoint)));
    const [read] = reader.device.peers;
    expect(read).toMatchObject({
      endpoint: { address: parseAddress("fd77::12"), port: 51821 },
      ...{ keepalive: 0, lastHandshake: 0, allowed: [] },
    });
    expect(read?.presharedKey?.isSame(new Secret(key(0x22)))).toBe(true);
  });

  it.each([
    ["a peer without a key", ""],
    ["a key that is cut short", attr("01", "abababab")],
  ])("refuses %s", (_, attrs) => {
    expect(() => {
      new DeviceReader().read(message(peers(attrs)));
    }).toThrow("without a public key");
  });

  it("refuses half an allowed IP", () => {
    const half = attr("09", attr("00", attr("01", "0200")));
    expect(() => {
      new DeviceReader().read(message(peers(attr("01", hex(1)), half)));
    }).toThrow("half an allowed IP");
  });
});
