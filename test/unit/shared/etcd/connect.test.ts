import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it, onTestFinished } from "vitest";

import { Failure } from "../../../../shared/base/failure.ts";
import { connect } from "../../../../shared/etcd/connect.ts";

it("fails, for another attempt, where a key or a certificate is half written", () => {
  const folder = mkdtempSync(join(tmpdir(), "etcd-"));
  onTestFinished(() => {
    rmSync(folder, { recursive: true });
  });
  const file = join(folder, "pem");
  writeFileSync(file, "-----BEGIN CERTIFICATE-----\nMIIB");
  const servers = {
    ...{ endpoints: [], caFile: "", keyFile: file, certFile: file },
    ...{ username: "", password: "" },
  };
  const attempt = () => connect("https://192.0.2.1:2379", servers, "read x in etcd");
  expect(attempt).toThrow(Failure);
  expect(attempt).toThrow(`Cannot read x in etcd: the certificates and keys in ${file}, ${file}`);
});
