/** Runs rows of the table on a plugin, each in namespaces of its own. */
import {
  cni,
  type CniAnswer,
  type CniCall,
  referenceDir,
  type Conf,
  type Sandbox,
} from "../../helpers/cni.ts";
import { newReference } from "./known.ts";
import { stateOf, type Place } from "./state.ts";
import { Turn } from "./turn.ts";

/** One input. The defaults are those of a runtime's first call for a pod. */
export interface Row extends Partial<Omit<CniCall, "bin" | "plugin" | "conf">> {
  /** The config. An object gets a name and a cniVersion if it has none; text is passed unchanged. */
  readonly conf: Conf | string;
  /** What comes before: shell scripts on the node, and calls, which must succeed. */
  readonly first?: readonly (string | Before)[];
  /** The codes: ours, then the reference's; 0 for success. */
  readonly fails?: readonly [ours: number, reference: number];
  /** What differs, with the row of docs/compatibility.md that says why, as "section: what". */
  readonly differs?: Differences;
  /** Rows of docs/compatibility.md by which a newer reference answers differently. */
  readonly varies?: readonly string[];
}

type Before = Partial<Omit<CniCall, "bin">>;

/** What is compared: the answer; after a successful ADD also the state, CHECK, DEL and the state then. */
export type Aspect = "answer" | "state" | "CHECK" | "DEL" | "after";

export type Differences = Readonly<Partial<Record<Aspect, string>>>;

/** The outcome of a row. Random names and MACs are replaced. */
export interface Outcome {
  /** 0, or the error's code. */
  readonly code: number;
  /** The plugin's output, for messages. */
  readonly output: string;
  readonly texts: Readonly<Partial<Record<Aspect, string>>>;
}

/**
 * What the calls of different rows share: nothing, the node, or files by host port.
 */
export type Kind = "own nodes" | "one node" | "one at a time";

/** One of the two suites that are compared. */
export interface Side {
  /** The folder of its executables. */
  readonly bin: string;
  /** The place of each row, by number. */
  readonly places: readonly Place[];
}

/** Makes places for `count` rows, spread over the sandboxes. */
export async function makeSide(
  bin: string,
  sandboxes: readonly Sandbox[],
  count: number,
  kind: Kind,
): Promise<Side> {
  const looksAtKernel = kind !== "one node";
  const rows = Array.from({ length: count }, (_, number) => number);
  const lanes = await Promise.all(
    sandboxes.map(async (sandbox, lane) => {
      const own = looksAtKernel ? rows.filter((row) => row % sandboxes.length === lane) : [0];
      const names = own.flatMap((row) => [`node${row}`, `pod${row}`]);
      const turn = kind === "one at a time" ? new Turn() : undefined;
      return { sandbox, turn, namespaces: await sandbox.addPods(names) };
    }),
  );
  const places = rows.map((row): Place => {
    const lane = lanes[row % sandboxes.length];
    const at = looksAtKernel ? Math.floor(row / sandboxes.length) : 0;
    const [node, pod] = lane?.namespaces.slice(2 * at) ?? [];
    if (lane === undefined || node === undefined || pod === undefined) {
      throw new Error(`No place for row ${row}`);
    }
    const folder = `/var/lib/cni/networks/net${row}`;
    return { node, pod, sandbox: lane.sandbox, folder, looksAtKernel, turn: lane.turn };
  });
  return { bin, places };
}

/** Runs a row, when it is its turn. */
export async function play(
  { bin, places }: Side,
  plugin: string,
  row: Row,
  number: number,
): Promise<Outcome> {
  const place = places[number];
  if (place === undefined) throw new Error(`No place for row ${number}`);
  const run = async (): Promise<Outcome> => playIn(place, bin, plugin, row, number);
  return place.turn === undefined ? run() : place.turn.take(run);
}

async function playIn(
  place: Place,
  bin: string,
  plugin: string,
  row: Row,
  number: number,
): Promise<Outcome> {
  const { node, pod, folder } = place;
  const { conf: given, first = [], fails: _, differs: __, varies: ___, ...env } = row;
  const common = { plugin, netns: pod.netnsPath, path: `${bin}:${referenceDir()}` } as const;
  const ask = async (more: Before): Promise<CniAnswer> => {
    const call = { ...common, command: "ADD", conf: given, ...env, ...more, bin } as const;
    return cni(node, { ...call, conf: withName(call.conf, number) });
  };
  for (const step of first) {
    if (typeof step === "string") {
      await node.sh(step, { env: { POD: pod.netnsPath, FOLDER: folder } });
      continue;
    }
    const { code, stdout } = await ask({ command: "ADD", ...step });
    if (code !== 0) throw new Error(`${JSON.stringify(step)} failed in ${bin}: ${stdout}`);
  }

  const normalise = normaliser(JSON.stringify(row));
  const answer = await ask({});
  const code = answer.code === 0 ? 0 : (answer.json?.code ?? -1);
  const output = `${answer.stdout}${answer.stderr}`;
  const texts: Partial<Record<Aspect, string>> = { answer: normalise(textOf(answer)) };
  if (code !== 0 || (row.command ?? "ADD") !== "ADD") return { code, output, texts };
  texts.state = await stateOf(place, "node and pod", normalise);
  // Since 0.4.0, CHECK and DEL get the result of ADD.
  const isNew = (answer.json?.cniVersion ?? "") >= "0.4.0" && typeof given !== "string";
  const conf = isNew ? { ...given, prevResult: answer.json } : given;
  const verbs: readonly ("CHECK" | "DEL")[] = isNew ? ["CHECK", "DEL"] : ["DEL"];
  for (const command of verbs) texts[command] = textOf(await ask({ command, conf }));
  texts.after = await stateOf(place, "node", normalise);
  return { code, output, texts };
}

function withName(conf: CniCall["conf"], number: number): CniCall["conf"] {
  const name = `net${number}`;
  if (typeof conf === "string") return conf.replaceAll("NETWORK", name);
  return conf instanceof Uint8Array ? conf : { name, cniVersion: "1.0.0", ...conf };
}

/** Ours end with a line break. A newer reference sorts keys, and leaves out an empty `dns`. */
function textOf({ code, stdout, json }: CniAnswer): string {
  if (code === 0) return newReference ? canonical(json) : stdout.replace(/\n$/, "");
  return json?.code === undefined ? `no proper error: ${stdout}` : "an error";
}

function canonical(json: CniAnswer["json"]): string {
  const { dns = {}, ...rest } = json ?? {};
  const value = Object.keys(dns).length === 0 ? rest : { ...rest, dns };
  return JSON.stringify(value, (_, inner: unknown) =>
    typeof inner === "object" && inner !== null && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).toSorted(([a], [b]) => (a < b ? -1 : 1)))
      : inner,
  );
}

/** Replaces random names and MACs, but not those that the row names. */
function normaliser(row: string): (text: string) => string {
  return (text) =>
    text
      .replaceAll(/\bveth[0-9a-f]{8}\b/g, "veth")
      .replaceAll(/\b[0-9a-f]{2}(:[0-9a-f]{2}){5}\b/g, (mac) => (row.includes(mac) ? mac : "MAC"));
}
