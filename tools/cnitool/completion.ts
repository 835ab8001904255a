import { CniError } from "../../shared/cni/error.ts";
import { listNetworks } from "../../shared/libcni/load.ts";
import { UsageError } from "./command.ts";
import type { Command } from "./command.ts";
import { helpOption } from "./help.ts";
import { netFolder } from "./settings.ts";

type Shell = (commands: readonly Command[]) => string;

/** The scripts by which shells complete the tool's words, made of the same table as the help. */
const shells: Readonly<Record<string, Shell>> = { bash, zsh, fish };

/** The command that prints such a script, for the other commands and itself. */
export function completionFor(others: readonly Command[]): Command {
  const command: Command = {
    name: "completion",
    operands: "[shell]",
    summary: "print a script that lets a shell complete cnitool's words",
    text: [
      "Prints a script for bash, zsh or fish, by which the Tab key completes commands,",
      "options, names of networks and paths of namespaces.",
    ],
    options: {
      networks: {
        type: "boolean",
        text: "print the names of the networks instead, for the scripts",
      },
    },
    examples: [
      "cnitool completion bash > /etc/bash_completion.d/cnitool",
      "cnitool completion zsh > /usr/share/zsh/vendor-completions/_cnitool",
      "cnitool completion fish > /etc/fish/completions/cnitool.fish",
    ],
    async run({ tool, operands, flags }) {
      if (flags.has("networks")) {
        const lists = listNetworks(netFolder(tool)).map(({ network }) => network);
        const found = lists.flatMap((one) => (one instanceof CniError ? [] : [`${one.name}\n`]));
        tool.print([...new Set(found)].join(""));
        return 0;
      }
      const shell = shells[operands[0] ?? ""];
      if (shell === undefined) {
        throw new UsageError(`the shell must be one of ${Object.keys(shells).join(", ")}`);
      }
      tool.print(shell([...others, command]));
      return 0;
    },
  };
  return command;
}

/** What prints the names of the networks, for a shell. */
const networks = "cnitool completion --networks 2>/dev/null";

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

function names(commands: readonly Command[]): string[] {
  return commands.map(({ name }) => name);
}

function bash(commands: readonly Command[]): string {
  return `# bash completion for cnitool
_cnitool() {
  local word=\${COMP_WORDS[COMP_CWORD]} command=\${COMP_WORDS[1]} at operands=0
  COMPREPLY=()
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W "${[...names(commands), "help", "version"].join(" ")}" -- "$word"))
    return
  fi
  case \${COMP_WORDS[COMP_CWORD-1]} in
    --valid-file) COMPREPLY=($(compgen -f -- "$word")); return ;;
  esac
  if [[ $word == -* ]]; then
    case $command in
${commands.map((one) => `      ${one.name}) COMPREPLY=($(compgen -W "${optionsOf(one).join(" ")}" -- "$word")) ;;`).join("\n")}
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
    ${names(networked(commands))
      .map((name) => `${name}:0`)
      .join("|")})
      COMPREPLY=($(compgen -W "$(${networks})" -- "$word")) ;;
    ${names(withNamespace(commands))
      .map((name) => `${name}:1`)
      .join("|")})
      COMPREPLY=($(compgen -f -- "\${word:-/run/netns/}")) ;;
    completion:0) COMPREPLY=($(compgen -W "${Object.keys(shells).join(" ")}" -- "$word")) ;;
    help:0) COMPREPLY=($(compgen -W "${names(commands).join(" ")}" -- "$word")) ;;
  esac
}
complete -F _cnitool cnitool
`;
}

/** The options that the next word is the value of. */
function valued(commands: readonly Command[]): string[] {
  const found = commands.flatMap(({ options }) =>
    Object.entries(options)
      .filter(([, { type }]) => type === "string")
      .flatMap(([name, { short }]) => [`--${name}`, ...(short === undefined ? [] : [`-${short}`])]),
  );
  return [...new Set(found)];
}

/** A text in a zsh description in single quotes, where brackets and colons mean something, too. */
function zshText(text: string): string {
  return text.replaceAll(/[[\]:]/g, (character) => `\\${character}`).replaceAll("'", `'\\''`);
}

function zsh(commands: readonly Command[]): string {
  const described = commands.map(({ name, summary }) => `    '${name}:${zshText(summary)}'`);
  const cases = commands.map((command) => {
    const entries = Object.entries({ ...command.options, help: helpOption });
    const options = entries.map(([name, { type, value = "value", text }]) => {
      const action = name === "valid-file" ? "_files" : "";
      const argument = type === "string" ? `:${zshText(value)}:${action}` : "";
      return `      '--${name}[${zshText(text)}]${argument}'`;
    });
    const net = command.operands.startsWith("<net>") ? ["      '1:network:_cnitool_networks'"] : [];
    const netns = command.operands.includes("netns")
      ? ["      '2:namespace:_files -W /run/netns'"]
      : [];
    const shell =
      command.name === "completion" ? [`      '1:shell:(${Object.keys(shells).join(" ")})'`] : [];
    const lines = [...options, ...net, ...netns, ...shell].join(" \\\n");
    return `    ${command.name}) _arguments \\\n${lines} ;;`;
  });
  return `#compdef cnitool
_cnitool_networks() {
  compadd -- $(${networks})
}
_cnitool() {
  local -a commands=(
${described.join("\n")}
  )
  if ((CURRENT == 2)); then
    _describe command commands
    return
  fi
  local command=$words[2]
  shift words
  ((CURRENT--))
  case $command in
${cases.join("\n")}
  esac
}
if [ "$funcstack[1]" = _cnitool ]; then _cnitool "$@"; else compdef _cnitool cnitool; fi
`;
}

/** A word in single quotes, as fish takes it. */
function fishText(text: string): string {
  return `'${text.replaceAll(/['\\]/g, (character) => `\\${character}`)}'`;
}

function seen(list: readonly string[]): string {
  return `__fish_seen_subcommand_from ${list.join(" ")}`;
}

function fish(commands: readonly Command[]): string {
  const lines = ["# fish completion for cnitool", "complete -c cnitool -f"];
  for (const { name, summary, options } of commands) {
    lines.push(`complete -c cnitool -n __fish_use_subcommand -a ${name} -d ${fishText(summary)}`);
    for (const [option, { type, short, text }] of Object.entries({
      ...options,
      help: helpOption,
    })) {
      const dash = short === undefined ? "" : ` -s ${short}`;
      const value = type === "string" ? (option === "valid-file" ? " -rF" : " -x") : "";
      lines.push(
        `complete -c cnitool -n '${seen([name])}' -l ${option}${dash}${value} -d ${fishText(text)}`,
      );
    }
  }
  lines.push(
    `complete -c cnitool -n '${seen(names(networked(commands)))}' -a '(${networks})' -d network`,
    `complete -c cnitool -n '${seen(names(withNamespace(commands)))}' -a '(for path in /run/netns/*; echo $path; end)' -d namespace`,
    `complete -c cnitool -n '${seen(["completion"])}' -a '${Object.keys(shells).join(" ")}'`,
    "",
  );
  return lines.join("\n");
}
