/** What the tests of portmap share. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import type { PortRecord } from "../../../../plugins/portmap/record.ts";
import { PortStore } from "../../../../plugins/portmap/store.ts";
import type { Request, Verb } from "../../../../shared/cni/request.ts";
import { takeLock } from "../../../../shared/files/lock.ts";
import type { PortForward } from "../../../../shared/firewall/port_forward.ts";
import { sys } from "../../../../shared/runtime/sys_node.ts";

export function request(verb: Verb, more: Partial<Request> = {}): Request {
  return {
    verb,
    containerId: "c1",
    netns: "",
    ifname: "eth0",
    args: "",
    path: [],
    netnsOverride: false,
    ...more,
  };
}

export function record(forward: PortForward, more: Partial<PortRecord> = {}): PortRecord {
  return {
    forward,
    backend: "iptables",
    netns: "/run/netns/c1",
    inode: 7,
    reserved: true,
    localnetLink: undefined,
    phase: "added",
    leftover: false,
    foreign: false,
    ...more,
  };
}

/** A folder that is gone after the test. */
export function temporaryFolder(): Disposable & { readonly path: string } {
  const path = mkdtempSync(join(tmpdir(), "portmap-"));
  return {
    path,
    [Symbol.dispose]: () => {
      rmSync(path, { recursive: true });
    },
  };
}

/** A store in a folder. @param warn takes what it warns about. */
export function storeIn(folder: string, warn: (message: string) => void = () => {}): PortStore {
  const node = { sys, lock: (path: string, timeout: number) => takeLock(sys, path, timeout) };
  return new PortStore(node, warn, folder);
}
