import { quote } from "../../shared/base/text.ts";
import { CniError } from "../../shared/cni/error.ts";
import { idProblem } from "../../shared/cni/request.ts";
import { listNetworks } from "../../shared/libcni/load.ts";
import { UsageError } from "../../shared/cli/command.ts";
import { helpOption } from "../../shared/cli/help.ts";
import type { Command } from "./command.ts";
import { netFolder } from "./settings.ts";

/** The command that prints such a script, for the other commands and itself. */
export function completionFor(commands: readonly Command[]): Command {
  const command: Command = {
    name: "completion",
    operands: "bash",
    summary: "print a script that lets bash complete cnitool's words",
    text: [
      "Prints a script for bash, by which the Tab key completes commands, options,",
      "names of networks and paths of namespaces.",
    ],
    options: {
      networks: {
        type: "boolean",
        text: "print the names of the networks instead, for the scripts",
      },
    },
    examples: ["cnitool completion bash > /etc/bash_completion.d/cnitool"],
    async run({ tool, operands, flags }) {
      if (flags.has("networks")) {
        const lists = listNetworks(netFolder(tool)).map(({ network }) => network);
        const found = lists.flatMap((list) => (list instanceof CniError ? [] : [list.name]));
        // bash expands the words of compgen, $(command) among them.
        const names = found.filter((name) => idProblem(name) === undefined);
        for (const name of new Set(names)) tool.terminal.line(name);
        return 0;
      }
      const [shell = ""] = operands;
      if (shell !== "bash") {
        throw new UsageError(`the shell must be bash (got ${quote(shell)})`);
      }
      tool.terminal.script(bash([...commands, command]));
      return 0;
    },
  };
  return command;
}

/** The command that prints the networks' names, for the shell. */
const printNetworks = "cnitool completion --networks 2>/dev/null";

/** The options of a command as they are typed. */
function optionsOf({ options }: Command): string[] {
  const entries = Object.entries({ ...options, help: helpOption });
  return entries.flatMap(([name, { short }]) => [
    `--${name}`,
    ...(short === undefined ? [] : [`-${short}`]),
  ]);
}

/** The commands that take a network's name. */
function networked(commands: readonly Command[]): Command[] {
  return commands.filter(({ operands }) => operands.startsWith("<net>"));
}

/** The commands whose second operand is a namespace. */
function withNamespace(commands: readonly Command[]): Command[] {
  return commands.filter(({ operands }) => operands.includes("netns"));
}

function namesOf(commands: readonly Command[]): string[] {
  return commands.map(({ name }) => name);
}

function bash(commands: readonly Command[]): string {
  return `# bash completion for cnitool
_cnitool() {
  local word=\${COMP_WORDS[COMP_CWORD]} command=\${COMP_WORDS[1]} at operands=0
  COMPREPLY=()
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W "${[...namesOf(commands), "help", "version"].join(" ")}" -- "$word"))
    return
  fi
  case \${COMP_WORDS[COMP_CWORD-1]} in
    --valid-file) COMPREPLY=($(compgen -f -- "$word")); return ;;
  esac
  if [[ $word == -* ]]; then
    case $command in
${commands.map((command) => `      ${command.name}) COMPREPLY=($(compgen -W "${optionsOf(command).join(" ")}" -- "$word")) ;;`).join("\n")}
    esac
    return
  fi
  for ((at = 2; at < COMP_CWORD; at = at + 1)); do
    case \${COMP_WORDS[at]} in
      ${valued(commands).join("|")}) at=$((at + 1)) ;;
      -*) ;;
      *) operands=$((operands + 1)) ;;
    esac
  done
  case $command:$operands in
    ${namesOf(networked(commands))
      .map((name) => `${name}:0`)
      .join("|")})
      COMPREPLY=($(compgen -W "$(${printNetworks})" -- "$word")) ;;
    ${namesOf(withNamespace(commands))
      .map((name) => `${name}:1`)
      .join("|")})
      COMPREPLY=($(compgen -f -- "\${word:-/run/netns/}")) ;;
    completion:0) COMPREPLY=($(compgen -W bash -- "$word")) ;;
    help:0) COMPREPLY=($(compgen -W "${namesOf(commands).join(" ")}" -- "$word")) ;;
  esac
}
complete -F _cnitool cnitool
`;
}

/** The options that take the next word as their value. */
function valued(commands: readonly Command[]): string[] {
  const found = commands.flatMap(({ options }) =>
    Object.entries(options)
      .filter(([, { type }]) => type === "string")
      .flatMap(([name, { short }]) => [`--${name}`, ...(short === undefined ? [] : [`-${short}`])]),
  );
  return [...new Set(found)];
}
