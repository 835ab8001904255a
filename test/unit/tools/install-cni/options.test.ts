/** install-cni's options: flags before variables, files before texts. */
import { expect, it } from "vitest";
import { UsageError } from "../../../../shared/cli/command.ts";
import { runCommand } from "../../../../shared/cli/run.ts";
import { Terminal } from "../../../../shared/cli/terminal.ts";
import { optionTable, readOptions } from "../../../../tools/install-cni/options.ts";
import type { Options } from "../../../../tools/install-cni/options.ts";

type Env = Readonly<Record<string, string>>;

/** The options of a call, as the command line's frame parses it. */
async function read(args: readonly string[], env: Env = {}): Promise<Options> {
  const seen: (Options | Error)[] = [];
  const command = {
    ...{ name: "x", operands: "", summary: "", text: [], options: optionTable, examples: [] },
    async run({ flags }: { flags: Parameters<typeof readOptions>[0] }) {
      try {
        seen.push(readOptions(flags, env));
      } catch (error) {
        seen.push(error as Error);
      }
      return 0;
    },
  };
  const terminal = new Terminal({ write: () => undefined });
  await runCommand(command, args, { terminal, tool: {}, usageStatus: 2, explain });
  const [options] = seen;
  if (options === undefined || options instanceof Error) throw options ?? new UsageError("none");
  return options;
}

function explain(): undefined {
  return undefined;
}

const defaults: Options = {
  action: "install",
  binDir: "/opt/cni/bin",
  confDir: "/etc/cni/net.d",
  confName: "10-flannel.conflist",
  conf: undefined,
  withConf: true,
  copies: false,
};

it("have defaults", async () => {
  expect(await read([])).toEqual(defaults);
  expect(await read([], { CNI_BIN_DIR: "", CNI_NETWORK_CONFIG: "" })).toEqual(defaults);
});

it.each<[readonly string[], Env, Partial<Options>]>([
  [["--bin-dir", "/a/"], {}, { binDir: "/a" }],
  [["--bin-dir=/"], {}, { binDir: "/" }],
  [[], { CNI_BIN_DIR: "/b", CNI_CONF_DIR: "/c" }, { binDir: "/b", confDir: "/c" }],
  [["--conf-dir", "/a"], { CNI_CONF_DIR: "/c" }, { confDir: "/a" }],
  [["--conf-name", "a.conflist"], { CNI_CONF_NAME: "b.conflist" }, { confName: "a.conflist" }],
  [["--conf", "f"], { CNI_NETWORK_CONFIG: "{}" }, { conf: { file: "f" } }],
  [["--conf-text", "{}"], { CNI_NETWORK_CONFIG_FILE: "f" }, { conf: { text: "{}" } }],
  [[], { CNI_NETWORK_CONFIG_FILE: "f", CNI_NETWORK_CONFIG: "{}" }, { conf: { file: "f" } }],
  [["--no-conf", "--copies"], {}, { withConf: false, copies: true }],
  [["--uninstall"], {}, { action: "uninstall" }],
])("%j with %j", async (args, env, expected) => {
  expect(await read(args, env)).toEqual({ ...defaults, ...expected });
});

it.each([
  [["--conf-name", "a.conf"], "must end in .conflist"],
  [["--conf-name", "../a.conflist"], "must end in .conflist"],
  [["--conf-name", "a\nb.conflist"], "no control characters"],
  [["--conf-name", "a\u0000.conflist"], "no control characters"],
  [["--bin-dir", "bin"], "must be an absolute path"],
  [["--conf-dir", ""], "must be an absolute path"],
])("%j is refused", async (args, message) => {
  await expect(read(args)).rejects.toThrow(message);
});
