/** Certificates of an authority of the test's own, by openssl. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** A certificate and its key, as files and as text (PEM). */
export interface Certificate {
  readonly certFile: string;
  readonly keyFile: string;
  readonly cert: string;
  readonly key: string;
}

export interface Authority {
  readonly folder: string;
  readonly caFile: string;
  readonly ca: string;
  /** A server's certificate for addresses and names. */
  readonly server: (name: string, ...hosts: readonly string[]) => Certificate;
  /** A client's, which says who it is. */
  readonly client: (user: string) => Certificate;
  [Symbol.dispose](): void;
}

export function createAuthority(): Authority {
  const folder = mkdtempSync(join(tmpdir(), "certificates-"));
  const openssl = (...args: readonly string[]): void => {
    execFileSync("openssl", args, { cwd: folder, stdio: ["ignore", "ignore", "pipe"] });
  };
  const newKey = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
  openssl(
    "req",
    "-x509",
    ...newKey,
    "-days",
    "30",
    "-subj",
    "/CN=test",
    "-keyout",
    "ca.key",
    "-out",
    "ca.crt",
  );
  const sign = (name: string, subject: string, extensions: string): Certificate => {
    const [key, request, cert] = [`${name}.key`, `${name}.csr`, `${name}.crt`];
    writeFileSync(join(folder, `${name}.ext`), extensions);
    openssl("req", ...newKey, "-subj", subject, "-keyout", key, "-out", request);
    openssl(
      ...["x509", "-req", "-in", request, "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial"],
      ...["-days", "30", "-extfile", `${name}.ext`, "-out", cert],
    );
    const [certFile, keyFile] = [join(folder, cert), join(folder, key)];
    return {
      certFile,
      keyFile,
      cert: readFileSync(certFile, "utf8"),
      key: readFileSync(keyFile, "utf8"),
    };
  };
  const caFile = join(folder, "ca.crt");
  return {
    folder,
    caFile,
    ca: readFileSync(caFile, "utf8"),
    server: (name, ...hosts) => {
      const names = hosts.map((host) => `${/^[\d.]+$|:/.test(host) ? "IP" : "DNS"}:${host}`);
      return sign(name, `/CN=${name}`, `subjectAltName=${names.join(",")}\n`);
    },
    client: (user) => sign(user, `/CN=${user}`, "extendedKeyUsage=clientAuth\n"),
    [Symbol.dispose]: () => {
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
