/** A node for the tests of host-local: a data folder, and calls of the plugin on it. */
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { expect } from "vitest";

import { hostLocal } from "../../../../plugins/host-local/plugin.ts";
import { toHandler } from "../../../../shared/cni/handler.ts";
import type { Verb } from "../../../../shared/cni/request.ts";
import type { Result } from "../../../../shared/cni/result.ts";
import type { Node } from "../../../../shared/node/node.ts";
import { formatAddress } from "../../../../shared/net/address.ts";
import { formatCidr } from "../../../../shared/net/cidr.ts";
import type { JsonObject } from "../../../../shared/base/json.ts";
import { FakeNode, temporaryFolder } from "../../shared/ipam/helpers.ts";

const plugin = toHandler(hostLocal);

export const dual = { ranges: [[{ subnet: "10.0.0.0/24" }], [{ subnet: "fd00::/64" }]] };
/** Five addresses, from 10.0.0.2 on. */
export const small = { ranges: [[{ subnet: "10.0.0.0/29" }]] };

/** What differs from container a's eth0 in the network {@link dual}. */
export interface Call {
  readonly id?: string;
  readonly ifname?: string;
  /** The address that CNI_ARGS asks for. */
  readonly ip?: string;
  readonly ipam?: JsonObject;
  readonly more?: JsonObject;
}

export class Host implements Disposable {
  readonly #temporary = temporaryFolder();
  readonly dataDir = this.#temporary.path;
  readonly folder = `${this.dataDir}/net1`;
  readonly node = new FakeNode(`${this.dataDir}/run`);
  readonly warnings: string[] = [];

  async call(verb: Verb, what: Call = {}): Promise<Result | undefined> {
    const { id = "a", ifname = "eth0", ip, ipam = dual, more } = what;
    const request = {
      verb,
      containerId: id,
      netns: "/proc/self/ns/net",
      ifname,
      args: ip === undefined ? "" : `IP=${ip}`,
      path: [],
      netnsOverride: false,
    };
    const raw = {
      cniVersion: "1.1.0",
      name: "net1",
      type: "bridge",
      ipam: { type: "host-local", dataDir: this.dataDir, ...ipam },
      ...more,
    };
    return plugin.call(request, raw, {
      node: this.node as unknown as Node,
      firewall: {} as never,
      delegate: {} as never,
      warn: (line) => {
        if (line.startsWith("Cannot undo")) throw new Error(line);
        this.warnings.push(line);
      },
    });
  }

  /** Runs ADD, and returns its addresses as "10.0.0.2/24 via 10.0.0.1". */
  async add(what: Call = {}): Promise<string[]> {
    const result = await this.call("ADD", what);
    return (result?.ips ?? []).map(({ address, gateway }) =>
      gateway === undefined
        ? formatCidr(address)
        : `${formatCidr(address)} via ${formatAddress(gateway)}`,
    );
  }

  /** Gives one address each to some containers. */
  async addAll(ids: readonly string[], ipam: JsonObject): Promise<void> {
    for (const id of ids) await this.add({ id, ipam });
  }

  async gc(...valid: [containerID: string, ifname: string][]): Promise<void> {
    const list = valid.map(([containerID, ifname]) => ({ containerID, ifname }));
    await this.call("GC", { ipam: {}, more: { "cni.dev/valid-attachments": list } });
  }

  async check(...addresses: string[]): Promise<void> {
    const ips = addresses.map((address) => ({ address }));
    await this.call("CHECK", { more: { prevResult: { cniVersion: "1.1.0", ips } } });
  }

  /** Puts a file that the plugin has not written into the network's folder. */
  put(name: string, text: string): void {
    mkdirSync(this.folder, { recursive: true });
    writeFileSync(`${this.folder}/${name}`, text);
    this.node.forget(`${this.folder}/${name}`);
  }

  /** The content of the network's folder without the lock, or undefined if there is no folder. */
  files(): string[] | undefined {
    const names = readdirSync(this.dataDir).includes("net1") ? readdirSync(this.folder) : undefined;
    return names?.filter((name) => name !== "lock").toSorted();
  }

  text(name: string): string {
    return readFileSync(`${this.folder}/${name}`, "utf8");
  }

  /** The same without the files that stay after the last container. */
  reserved(): string[] {
    return (this.files() ?? []).filter((name) => !name.startsWith("last_reserved_ip"));
  }

  [Symbol.dispose](): void {
    this.#temporary[Symbol.dispose]();
    if (this.node.isLocked) throw new Error("the lock is still held");
  }
}

/** Matches an error whose message contains `message`. */
export function error(code: number, message = ""): object {
  return {
    code,
    message: expect.stringContaining(message),
    details: expect.stringMatching(/^[A-Z].*\.$/),
  };
}
