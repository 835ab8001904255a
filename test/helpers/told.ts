/** What the Go flanneld 0.28 tells the peers, the Kubernetes API and the plugin. */
import { readFileSync } from "node:fs";

export interface Told {
  readonly annotations: Readonly<Record<string, string>>;
  readonly condition: Readonly<Record<string, string>>;
  /** The lines of subnet.env. */
  readonly subnetEnv: readonly string[];
  /** Its value in etcd, where it has been taken. */
  readonly etcd?: string;
}

/** With MAC and KEY in the place of a device's MAC and a public key. */
const goldens = JSON.parse(readFileSync("test/golden/flanneld/told.json", "utf8")) as Readonly<
  Record<string, Told>
>;

/** @param name of the config that it was told with. */
export function toldByGo(name: string): Told {
  const golden = goldens[name];
  if (golden === undefined) throw new Error(`there is no golden ${name}`);
  return golden;
}

/** A text without what differs between nodes. */
export function withoutIdentity(text: string): string {
  return text
    .replaceAll(/(?:[\da-f]{2}:){5}[\da-f]{2}/g, "MAC")
    .replaceAll(/[A-Za-z0-9+/]{43}=/g, "KEY");
}
