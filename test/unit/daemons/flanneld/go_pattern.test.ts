/** Go's regular expressions, in JavaScript's. */
import { expect, test } from "vitest";
import { parseGoPattern, PatternError } from "../../../../daemons/flanneld/go_pattern.ts";

test.for<[pattern: string, matching: readonly string[], not: readonly string[]]>([
  ["^eth", ["eth0"], ["Eth0", "veth0"]],
  ["(?i)eth", ["ETH0", "eth0"], ["ens1"]],
  ["(?i)(?s)^e.h$", ["E\nh"], ["eths"]],
  ["(?is)^e.h$", ["E\nh"], []],
  ["(?i-i)eth", ["eth0"], ["ETH0"]],
  ["(?m)^b$", ["a\nb\nc"], ["abc"]],
  ["(?P<kind>eth|ens)\\d+", ["ens1"], ["wlan0"]],
  ["(?<kind>eth|ens)\\d+", ["ens1"], ["wlan0"]],
  ["(?:eth|ens)1", ["ens1"], ["ens2"]],
  ["\\Aeth\\d\\z", ["eth0"], ["veth0", "eth01"]],
  ["(?m)\\Aeth\\d\\z", ["eth0"], ["a\neth0", "eth0\na"]],
  ["^\\Qeth0.1\\E$", ["eth0.1"], ["eth0x1"]],
  ["^\\Qa[b]-c\\d", ["a[b]-c\\d"], ["ab-c1"]],
  ["^\\Qe\\E+$", ["eee"], ["eth"]],
  ["^[[:alpha:]]+$", ["eth", "ETH"], ["eth0"]],
  ["^[[:lower:][:digit:].]+$", ["eth0.1"], ["ETH0"]],
  ["^[^[:digit:]]+$", ["eth"], ["eth0"]],
  ["^[[:^digit:]]+$", ["eth"], ["eth0"]],
  ["^[]a]+$", ["]a"], ["b"]],
  ["^[^]a]+$", ["b"], ["a", "]"]],
  ["^\\x{65}th\\x30$", ["eth0"], ["th0"]],
  ["^10[.]244\\.", ["10.244.0.1"], ["10x244"]],
])("%s", ([text, matching, not]) => {
  const pattern = parseGoPattern(text);
  for (const name of matching) expect(pattern.test(name), name).toBe(true);
  for (const name of not) expect(pattern.test(name), name).toBe(false);
});

test.for(
  ["alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower"].concat(
    ...["print", "punct", "space", "upper", "word", "xdigit"],
  ),
)("[:%s:] and what it leaves out are all characters, each once", (name) => {
  const [inside, outside] = [`^[[:${name}:]]$`, `^[[:^${name}:]]$`].map(parseGoPattern);
  const characters = Array.from({ length: 300 }, (_, code) => String.fromCharCode(code));
  const isIn = (pattern: RegExp | undefined) =>
    characters.filter((character) => pattern?.test(character) === true);
  expect(isIn(inside).length).toBeGreaterThan(0);
  expect(isIn(outside)).toEqual(characters.filter((each) => !isIn(inside).includes(each)));
});

test.for([
  ["(", "must be a regular expression"],
  ["(?U)eth", "must not have the flag U, which JavaScript lacks"],
  ["(?x)eth", "must not have the flag x"],
  ["eth(?i)0", "must have its flags at the start"],
  ["\\pL", "must not have \\pL"],
  ["\\p{Greek}", "must not have \\p{Greek}"],
  ["[\\PL]", "must not have \\PL"],
  ["\\C", "must not have \\C"],
  ["\\x{10FFFF}", "at most four hexadecimal digits"],
  ["[[:letter:]]", "must not have the class [:letter:]"],
  ["[\\z]", "must not have \\z in brackets"],
  ["[a", "must be a regular expression"],
  ["\\", "must be a regular expression"],
] as const)("%s is refused: it %s", ([text, why]) => {
  expect(() => parseGoPattern(text)).toThrow(PatternError);
  expect(() => parseGoPattern(text)).toThrow(why);
});
