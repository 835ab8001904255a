/** Checks that this machine has what a sandbox needs. */
import { accessSync, constants } from "node:fs";
import { join } from "node:path";

/** The programs that the sandbox runs, and the Debian package that holds each. */
const TOOLS: Readonly<Record<string, string>> = {
  ip: "iproute2",
  "iptables-nft-save": "iptables",
  "iptables-legacy-save": "iptables",
  mount: "mount",
  nft: "nftables",
  nsenter: "util-linux",
  ping: "iputils-ping",
  unshare: "util-linux",
};

const TOOL_DIRECTORIES = [
  "/usr/local/sbin",
  "/usr/local/bin",
  "/usr/sbin",
  "/usr/bin",
  "/sbin",
  "/bin",
];

/** Throws one error that names everything that is missing, root rights included, and what to do. */
export function requireSandboxTools(): void {
  const complaints: string[] = [];
  if (process.platform !== "linux") complaints.push("it needs Linux");
  if (process.getuid?.() !== 0) {
    complaints.push("it needs root, for it makes namespaces and mounts (run it with sudo)");
  }
  const missing = Object.keys(TOOLS).filter((tool) => pathOf(tool) === undefined);
  if (missing.length > 0) {
    const packages = [...new Set(missing.map((tool) => TOOLS[tool]))].join(" ");
    complaints.push(`missing: ${missing.join(", ")} (Debian: apt-get install ${packages})`);
  }
  if (complaints.length > 0) {
    throw new Error(`Cannot build a network sandbox: ${complaints.join("; ")}`);
  }
}

/** The path of a program, whatever the caller's PATH is. */
export function pathOf(tool: string): string | undefined {
  const paths = TOOL_DIRECTORIES.map((directory) => join(directory, tool));
  return paths.find((path) => {
    try {
      accessSync(path, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}
