/** What a plugin's start loads, for the test that limits it. */
import { build, type Metafile } from "esbuild";
import { optionsOf, type Runtime } from "./bundle.ts";

export interface Inputs {
  /** Bytes of code, without the second bundles. */
  readonly bytes: number;
  /** The runtime's own modules that every start loads. */
  readonly builtins: readonly string[];
  /** The packages that every start evaluates. */
  readonly packages: readonly string[];
  /** The files that are evaluated on first use. */
  readonly lazy: readonly string[];
}

/** Bundles an entry as the build does, without writing anything. */
export async function inputsOf(entry: string, runtime: Runtime): Promise<Inputs> {
  const options = optionsOf(entry, "flannel.cjs", runtime);
  const { metafile } = await build({ ...options, metafile: true, write: false });
  const [output] = Object.values(metafile.outputs);
  if (output === undefined) throw new Error(`esbuild has made nothing of ${entry}`);
  const eager = eagerFiles(metafile, entry);
  const files = Object.entries(output.inputs).flatMap(([file, { bytesInOutput }]) =>
    bytesInOutput > 0 ? [file] : [],
  );
  return {
    bytes: output.bytes,
    builtins: distinct(
      files.filter((file) => eager.has(file)).flatMap((file) => externalsOf(metafile, file)),
    ),
    packages: distinct(files.filter((file) => eager.has(file)).flatMap(packageOf)),
    lazy: files.filter((file) => !eager.has(file)),
  };
}

/** What import statements alone reach. A `require` is a call that may never be made. */
function eagerFiles({ inputs }: Metafile, entry: string): ReadonlySet<string> {
  const found = new Set([entry]);
  for (const file of found) {
    for (const { path, kind } of inputs[file]?.imports ?? []) {
      if (kind === "import-statement") found.add(path);
    }
  }
  return found;
}

/** What a file imports of the runtime's own. */
function externalsOf({ inputs }: Metafile, file: string): readonly string[] {
  return (inputs[file]?.imports ?? []).flatMap(({ path, kind, external }) =>
    external === true && kind === "import-statement" ? [path] : [],
  );
}

function packageOf(file: string): string[] {
  const name = /node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(file)?.[1];
  return name === undefined ? [] : [name];
}

function distinct(names: readonly string[]): string[] {
  return [...new Set(names)].toSorted();
}
