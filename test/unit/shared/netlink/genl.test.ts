import { expect, it } from "vitest";
import { familyRequest, genlMessage, readFamilyId } from "../../../../shared/netlink/genl.ts";

it("puts the command before the attributes", () => {
  const message = genlMessage(33, { command: 1, version: 2 }, 0x300, [Buffer.of(9, 9, 9, 9)]);
  expect(message).toEqual({
    ...{ type: 33, flags: 0x300 },
    body: Buffer.from("0102000009090909", "hex"),
  });
});

it("asks for the number of a family, as linux/genetlink.h says", () => {
  const { type, body } = familyRequest("wireguard");
  expect(type).toBe(16);
  // CTRL_CMD_GETFAMILY, version 1; CTRL_ATTR_FAMILY_NAME, 14 bytes of 16.
  expect(Buffer.from(body).toString("hex")).toBe(
    `030100000e000200${Buffer.from("wireguard\0").toString("hex")}0000`,
  );
});

it("reads the number", () => {
  const body = Buffer.from("010200000e0002007769726567756172640000000600010021000000", "hex");
  expect(readFamilyId(body)).toBe(0x21);
  expect(() => readFamilyId(body.subarray(0, 4))).toThrow("without a number");
});
