import { Failure } from "../../../shared/base/failure.ts";
import { readIfPresent } from "../../../shared/files/read_file.ts";

/** The text of net-conf.json. @throws Failure missing */
export function readNetConfFile(path: string): string {
  let cause: unknown;
  try {
    const text = readIfPresent(path);
    if (text !== undefined) return text;
  } catch (error) {
    cause = error;
  }
  throw new Failure(
    "missing",
    `Cannot read the network's config: there is no ${path}.`,
    "Mount net-conf.json of the ConfigMap kube-flannel-cfg there.",
    { cause },
  );
}
