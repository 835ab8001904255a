import { join } from "node:path";
import { isJsonArray, isJsonObject, parseJson } from "../../shared/base/json.ts";
import { listIfPresent } from "../../shared/files/files.ts";
import { readIfPresent } from "../../shared/files/read_file.ts";
import { formatCidr, overlaps, parseCidr, subnetOf } from "../../shared/net/cidr.ts";
import type { Cidr } from "../../shared/net/cidr.ts";
import { NetError } from "../../shared/net/error.ts";
import type { Json, JsonObject } from "../../shared/base/json.ts";
import { subnetFile as defaultSubnetFile } from "../../shared/files/paths.ts";

/**
 * The other configs of a folder that a conflist conflicts with: one that runtimes use instead, and
 * one that gives pods the same addresses.
 * @returns a warning each.
 */
export function conflictsWith(folder: string, name: string, conflist: JsonObject): string[] {
  const own = subnetsIn(conflist);
  return listIfPresent(folder)
    .filter((file) => file !== name && /\.(conf|conflist|json)$/.test(file))
    .toSorted()
    .flatMap((file) => {
      const path = join(folder, file);
      const value = readJson(path);
      // A runtime cannot use what cannot be read.
      if (!isJsonObject(value)) return [];
      const warnings: string[] = [];
      // Runtimes sort by name and take the first.
      if (file < name) {
        warnings.push(
          `${path} comes before ${name} by name, so runtimes use that one. Move it away when no pod is on its network.`,
        );
      }
      const shared = value["name"] === conflist["name"] ? undefined : sharedSubnet(own, value);
      if (shared !== undefined) {
        warnings.push(
          `${path} is another network with the same subnet, ${shared}: two pods could get the same address. Give it another subnet, or move it away when no pod is on it.`,
        );
      }
      return warnings;
    });
}

function readJson(path: string): Json | undefined {
  try {
    return parseJson(readIfPresent(path) ?? "");
  } catch {
    return undefined;
  }
}

/** What a network's addresses are from: a subnet, or the path of a subnet.env that names it. */
type Subnet = Cidr | string;

/** The subnets that a config names, at any depth. */
function subnetsIn(value: Json | undefined): Subnet[] {
  if (isJsonArray(value)) return value.flatMap(subnetsIn);
  if (!isJsonObject(value)) return [];
  const { type, subnet, subnetFile } = value;
  return [
    ...(typeof subnet === "string" ? cidrIn(subnet) : []),
    ...(type === "flannel"
      ? flannelSubnets(typeof subnetFile === "string" ? subnetFile : defaultSubnetFile)
      : []),
    ...Object.values(value).flatMap(subnetsIn),
  ];
}

/** Before flanneld's first start, and in an init container, only the file's name is known. */
function flannelSubnets(file: string): Subnet[] {
  let text = "";
  try {
    text = readIfPresent(file) ?? "";
  } catch {
    // Its name will do.
  }
  const found = text.matchAll(/^FLANNEL_(?:IPV6_)?SUBNET=(.*)$/gm);
  return [file, ...[...found].flatMap(([, subnet = ""]) => cidrIn(subnet))];
}

function cidrIn(text: string): Cidr[] {
  try {
    return [subnetOf(parseCidr(text))];
  } catch (error) {
    if (error instanceof NetError) return [];
    throw error;
  }
}

function sharedSubnet(own: readonly Subnet[], conf: JsonObject): string | undefined {
  const confSubnets = subnetsIn(conf);
  const shared = own.filter((ownSubnet) =>
    confSubnets.some((confSubnet) => intersect(ownSubnet, confSubnet)),
  );
  // A subnet says more than the name of a file.
  const best = shared.find((subnet) => typeof subnet !== "string") ?? shared[0];
  return best === undefined || typeof best === "string" ? best : formatCidr(best);
}

function intersect(a: Subnet, b: Subnet): boolean {
  if (typeof a === "string" || typeof b === "string") return a === b;
  return overlaps(a, b);
}
