import { expect, it } from "vitest";

import { fileAttributes } from "../../../../shared/files/attributes.ts";
import { fakeSys } from "../runtime/fake_sys.ts";

const ENODATA = 61;

it("an attribute is read as it was set, and is none where the kernel says so", () => {
  const kept = new Map<string, string>();
  const attributes = fileAttributes(
    fakeSys({
      lgetxattr: (path, name, into) => {
        const value = kept.get(`${path} ${name}`);
        return value === undefined ? -ENODATA : Buffer.from(into.buffer).write(value);
      },
      lsetxattr: (path, name, value) => {
        kept.set(`${path} ${name}`, Buffer.from(value).toString());
        return 0;
      },
    }),
  );
  expect(attributes.attribute("/a", "user.x")).toBeUndefined();
  attributes.setAttribute("/a", "user.x", "größe");
  attributes.setAttribute("/a", "user.y", "");
  expect(attributes.attribute("/a", "user.x")).toBe("größe");
  expect(attributes.attribute("/a", "user.y")).toBe("");
  expect(attributes.attribute("/b", "user.x")).toBeUndefined();
});
