/**
 * Inputs that all plugins have in common: environment, stdin, names and versions. They share the code
 * for these, so one plugin is enough: host-local, which needs no links.
 */
import type { Conf } from "../../helpers/cni.ts";
import { compare, type Rows } from "./compare.ts";
import { hostLocalRange, SUBNET } from "./confs.ts";

const CONF = hostLocalRange({ subnet: SUBNET });
const VARIABLES = ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"] as const;
const SAME = (code: number) => ({ fails: [code, code] }) as const;
const NOT_YET = "All plugins: CNI 1.1.0, GC and STATUS";

function environment(conf: Conf): Rows {
  // Unknown to the reference 1.1.1; for ours, too new for the config's version.
  const unknown = (command: "GC" | "STATUS") =>
    ({ conf, command, fails: [1, 4], varies: [NOT_YET] }) as const;
  const silent = {
    fails: [-1, 0],
    differs: { answer: "All plugins: started without CNI_COMMAND" },
  } as const;
  const verbs = ["ADD", "DEL", "CHECK"] as const;
  return {
    ...Object.fromEntries(
      verbs.flatMap((command) =>
        // A DEL may come after the namespace is gone.
        VARIABLES.filter((name) => command !== "DEL" || name !== "CNI_NETNS").flatMap((name) =>
          [undefined, ""].map((value) => [
            `${command} with ${value === undefined ? "no" : "an empty"} ${name}`,
            { conf, command, extraEnv: { [name]: value }, ...SAME(4) },
          ]),
        ),
      ),
    ),
    "no CNI_COMMAND": { conf, extraEnv: { CNI_COMMAND: undefined }, ...silent },
    "an empty CNI_COMMAND": { conf, extraEnv: { CNI_COMMAND: "" }, ...silent },
    "an unknown verb": { conf, extraEnv: { CNI_COMMAND: "EXPLODE" }, ...SAME(4) },
    "a verb in lower case": { conf, extraEnv: { CNI_COMMAND: "add" }, ...SAME(4) },
    GC: unknown("GC"),
    STATUS: unknown("STATUS"),
    VERSION: { conf, command: "VERSION", differs: { answer: NOT_YET } },
    "VERSION without anything": {
      conf: "",
      command: "VERSION",
      extraEnv: Object.fromEntries(VARIABLES.map((name) => [name, undefined])),
      differs: { answer: NOT_YET },
    },
    ...Object.fromEntries(
      ["a/b", "..", ".", "-a", "a b", "_a", "ä"].map((containerId) => [
        `the container id ${containerId}`,
        { conf, containerId, command: "DEL", ...SAME(4) },
      ]),
    ),
    ...Object.fromEntries(
      ["a.b-c_d", "A1", "a".repeat(200)].map((containerId) => [
        `the container id ${containerId}`,
        { conf, containerId, command: "DEL" },
      ]),
    ),
    "DEL with a container id of 250 characters": {
      conf,
      containerId: "a".repeat(250),
      command: "DEL",
    },
    "ADD with a container id of 250 characters": {
      conf,
      containerId: "a".repeat(250),
      fails: [4, 0],
      differs: {
        answer: "All plugins: container ids and network names of more than 200 characters",
      },
    },
    ...Object.fromEntries(
      ["sixteencharacter", "a/b", "a:b", "a b", ".", "..", "a\tb"].map((ifname) => [
        `the interface name ${JSON.stringify(ifname)}`,
        { conf, ifname, command: "DEL", ...SAME(4) },
      ]),
    ),
    ...Object.fromEntries(
      ["fifteencharacte", "ä", "-x"].map((ifname) => [
        `the interface name ${JSON.stringify(ifname)}`,
        { conf, ifname, command: "DEL" },
      ]),
    ),
    ...Object.fromEntries(
      ["IP", "=x"].map((args) => [`CNI_ARGS ${args}`, { conf, args, fails: [4, 999] }]),
    ),
  };
}

function stdin(conf: Conf): Rows {
  const text = JSON.stringify({ cniVersion: "1.0.0", name: "NETWORK", ...conf });
  const withMore = (json: string): string => `${text.slice(0, -1)},${json}}`;
  const nested = (depth: number): string =>
    withMore(`"x":${"[".repeat(depth)}${"]".repeat(depth)}`);
  const odd = {
    fails: [0, 6],
    differs: {
      answer: "All plugins: JSON nested more than 10,000 deep",
    },
  } as const;
  const texts = {
    nothing: "",
    "white space": " \n",
    "half a config": text.slice(0, -3),
    "two configs": text + text,
    "a config and more": `${text} x`,
    "a comment": withMore('"a":1 // b\n'),
    "an array": "[]",
    "a number": "1",
    "a text": '"x"',
  };
  const key = (name: string, value: unknown): Conf => ({ ...conf, [name]: value });
  const versions = ["9.9.9", "1.0", "v1.0.0", "1.0.1", "0.3", "0.5.0", "x"];
  return {
    ...Object.fromEntries(
      Object.entries(texts).map(([what, given]) => [what, { conf: given, ...SAME(6) }]),
    ),
    "DEL with nothing": { conf: "", command: "DEL", ...SAME(6) },
    null: { conf: "null", fails: [6, 7] },
    "an empty object": { conf: "{}", ...SAME(7) },
    "white space around": { conf: `\n ${text}\n\n` },
    "a key twice": { conf: `{"cniVersion":"0.3.1",${text.slice(1)}` },
    "1000 lists in each other": { conf: nested(1000) },
    "a byte order mark": {
      conf: `\uFEFF${text}`,
      fails: [0, 6],
      differs: { answer: "All plugins: a byte order mark before the config" },
    },
    "a number beyond a double": { conf: withMore('"x":1e999') },
    "20,000 lists in each other": { conf: nested(20_000), ...odd },
    ...Object.fromEntries(
      [undefined, "", null, "../x", "-x", "a b"].map((name) => [
        `the name ${JSON.stringify(name)}`,
        { conf: key("name", name), ...SAME(7) },
      ]),
    ),
    "the name 5": { conf: key("name", 5), fails: [7, 6] },
    ...Object.fromEntries(
      [undefined, "", "other"].map((type) => [`the type ${type}`, { conf: key("type", type) }]),
    ),
    ...Object.fromEntries(
      versions.map((version) => [
        `CNI ${version}`,
        { conf: key("cniVersion", version), ...SAME(1) },
      ]),
    ),
    "CNI 1.1.0": { conf: key("cniVersion", "1.1.0"), fails: [0, 1], differs: { answer: NOT_YET } },
    "DEL in CNI 9.9.9": { conf: key("cniVersion", "9.9.9"), command: "DEL", ...SAME(1) },
    "CHECK in CNI 0.3.1": { conf: key("cniVersion", "0.3.1"), command: "CHECK", ...SAME(1) },
    "a version that is a number": { conf: key("cniVersion", 1), ...SAME(6) },
    ...Object.fromEntries(
      [undefined, "", null].map((version) => [
        `the version ${version}`,
        { conf: key("cniVersion", version) },
      ]),
    ),
    "DEL with a damaged prevResult": {
      conf: key("prevResult", { cniVersion: "1.0.0", ips: "x" }),
      command: "DEL",
    },
  };
}

compare("the environment", "host-local", "one node", environment(CONF));
compare("stdin", "host-local", "one node", stdin(CONF));
