/** What helm makes of a chart. */
import { execFileSync, spawnSync } from "node:child_process";
import { join } from "node:path";
import { parseAllDocuments } from "yaml";
import { helm } from "../../../scripts/kubernetes/programs.ts";

export const helmProgram = join(helm.folder, "helm");

export interface KubeObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string };
  readonly spec?: unknown;
  data?: Record<string, unknown>;
}

/** By kind and name: "DaemonSet kube-flannel-ds". */
export type KubeObjects = Readonly<Record<string, KubeObject>>;

/** Each is NAME=JSON, as helm's --set-json takes it. */
export type Values = readonly string[];

/** The objects of some documents; what is JSON in them as values. */
export function objectsOf(text: string): KubeObjects {
  const objects = parseAllDocuments(text).flatMap((document) => {
    const object = document.toJS() as KubeObject | null;
    return object === null ? [] : [object];
  });
  for (const object of objects) {
    if (object.data === undefined) continue;
    object.data = Object.fromEntries(
      Object.entries(object.data).map(([name, json]) => [
        name,
        JSON.parse(String(json)) as unknown,
      ]),
    );
  }
  return Object.fromEntries(
    objects.map((object) => [`${object.kind} ${object.metadata.name}`, object]),
  );
}

/** The objects that helm makes with some values. Throws if the chart refuses them. */
export function render(chart: string, values: Values): KubeObjects {
  return objectsOf(execFileSync(helmProgram, argsFor(chart, values), { encoding: "utf8" }));
}

/** What helm says when the chart refuses some values; undefined if it takes them. */
export function refusalOf(chart: string, values: Values): string | undefined {
  const { status, stderr } = spawnSync(helmProgram, argsFor(chart, values), { encoding: "utf8" });
  return status === 0 ? undefined : stderr;
}

function argsFor(chart: string, values: Values): string[] {
  const flags = values.flatMap((value) => ["--set-json", value]);
  return ["template", "flannel", chart, "--namespace", "kube-flannel", ...flags];
}
