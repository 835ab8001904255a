import { inspect } from "node:util";
import { expect, it } from "vitest";
import { sameSecret, Secret } from "../../../../shared/base/secret.ts";

const bytes = Uint8Array.from([1, 2, 3]);
const secret = new Secret(bytes);

it("is printed by nothing", () => {
  const text = Buffer.from(bytes).toString("base64");
  for (const printed of [String(secret), JSON.stringify({ secret }), inspect(secret)]) {
    expect(printed).not.toContain(text);
    expect(printed).not.toMatch(/1, *2, *3/);
  }
});

it("is the same with the same bytes alone", () => {
  expect(sameSecret(secret, new Secret(Uint8Array.from([1, 2, 3])))).toBe(true);
  for (const bytesOfAnother of [[1, 2, 4], [1, 2], [1, 2, 3, 0], []]) {
    expect(sameSecret(secret, new Secret(Uint8Array.from(bytesOfAnother)))).toBe(false);
  }
  expect(sameSecret(secret, undefined)).toBe(false);
  expect(sameSecret(undefined, undefined)).toBe(true);
});
