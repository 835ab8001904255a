import { join } from "node:path";
import { isJsonArray, isJsonObject, parseJson } from "../../shared/base/json.ts";
import { listIfPresent, readIfPresent } from "../../shared/files/files.ts";
import { formatCidr, overlaps, parseCidr, subnetOf } from "../../shared/net/cidr.ts";
import type { Cidr } from "../../shared/net/cidr.ts";
import { NetError } from "../../shared/net/error.ts";
import type { Json, JsonObject } from "../../shared/base/json.ts";
import { subnetFile as defaultSubnetFile } from "../../shared/files/paths.ts";

/**
 * What else is in the folder of configs that would get in the way of a conflist: one that runtimes
 * take instead of it, and one that gives out the same addresses.
 * @returns a sentence each.
 */
export function rivalsOf(folder: string, name: string, conflist: JsonObject): string[] {
  const own = subnetsIn(conflist);
  return listIfPresent(folder)
    .filter((other) => other !== name && /\.(conf|conflist|json)$/.test(other))
    .toSorted()
    .flatMap((other) => {
      const path = join(folder, other);
      const value = readJson(path);
      // What cannot be read, a runtime does not take either.
      if (!isJsonObject(value)) return [];
      const warnings: string[] = [];
      // Runtimes sort by name and take the first.
      if (other < name) {
        warnings.push(`${path} comes before ${name} by name, so runtimes take that. Remove it.`);
      }
      const shared = value["name"] === conflist["name"] ? undefined : sharedBy(own, value);
      if (shared !== undefined) {
        warnings.push(
          `${path} is another network with the same subnet, ${shared}: two pods could get one address. Remove it.`,
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

/** Where a network's pods get addresses of: a subnet, or a file of flanneld's that says which. */
type Subnet = Cidr | string;

/** The subnets of a config, wherever in it they are said. */
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

/** Before flanneld's first start, and in an init container, there is the file's name alone. */
function flannelSubnets(file: string): Subnet[] {
  let text = "";
  try {
    text = readIfPresent(file) ?? "";
  } catch {
    // Then that name has to do.
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

function sharedBy(own: readonly Subnet[], rival: JsonObject): string | undefined {
  const others = subnetsIn(rival);
  const shared = own.filter((mine) => others.some((other) => same(mine, other)));
  // A subnet says more than the file that it comes from.
  const best = shared.find((subnet) => typeof subnet !== "string") ?? shared[0];
  return best === undefined || typeof best === "string" ? best : formatCidr(best);
}

function same(a: Subnet, b: Subnet): boolean {
  if (typeof a === "string" || typeof b === "string") return a === b;
  return overlaps(a, b);
}
