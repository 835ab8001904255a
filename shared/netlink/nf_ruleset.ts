import { attributes, elements, Flag } from "./codec.ts";
import type { Received } from "./codec.ts";
import { request, terminated } from "./nf_tables.ts";
import type { NetfilterSocket, NfFamily } from "./nf_tables.ts";

/**
 * Whether rules of nf_tables are as they were, asked of the kernel without a process: a chain's rules
 * can be told from others by their bytes (linux/netfilter/nf_tables.h).
 */
const NFT_MSG_GETTABLE = 1;
const NFT_MSG_GETRULE = 7;
const NFTA_TABLE_NAME = 1;
const NFTA_RULE_TABLE = 1;
const NFTA_RULE_CHAIN = 2;
const NFTA_RULE_EXPRESSIONS = 4;
const NFTA_EXPR_NAME = 1;
const NFTA_EXPR_DATA = 2;
/** Bytes of struct nfgenmsg. */
const NFGENMSG = 4;
/** Errnos of a table or chain that is not there, or of a kernel without nf_tables. */
const absent = [2, 22, 93, 95];

/** Whether there is a table. @throws Failure kernel */
export function hasTable(socket: NetfilterSocket, family: NfFamily, table: string): boolean {
  const [reply] = socket.transact([
    request(NFT_MSG_GETTABLE, 0, family, [[NFTA_TABLE_NAME, table]]),
  ]);
  return reply?.errno === 0;
}

/**
 * What a chain's rules are, in order, as bytes: the same for the same rules, however many packets
 * they have seen.
 * @param having what the wanted rules have in them; others are left out.
 * @throws Failure kernel
 */
export function chainContent(
  socket: NetfilterSocket,
  family: NfFamily,
  table: string,
  chain: string,
  having?: string,
): string {
  const message = request(NFT_MSG_GETRULE, Flag.DUMP, family, [
    [NFTA_RULE_TABLE, table],
    [NFTA_RULE_CHAIN, chain],
  ]);
  const bytes = having === undefined ? undefined : Buffer.from(`${having}\0`);
  const found = socket.dump(message, absent, bytes);
  return found.map((rule) => readRule(rule, table, chain)).join("\n");
}

function readRule({ body }: Received, table: string, chain: string): string {
  const attrs = attributes(body, NFGENMSG);
  // Kernels that don't filter a dump answer with the rules of every chain.
  const isOf = attrs.get(NFTA_RULE_TABLE)?.equals(terminated(table)) === true;
  if (!isOf || attrs.get(NFTA_RULE_CHAIN)?.equals(terminated(chain)) !== true) return "";
  return elements(attrs.get(NFTA_RULE_EXPRESSIONS)).map(readExpression).join(";");
}

/** A counter's value does not make it another rule. */
function readExpression(element: Buffer): string {
  const attrs = attributes(element, 0);
  const name = attrs.get(NFTA_EXPR_NAME)?.toString("latin1") ?? "";
  return name === "counter\0" ? name : `${name}${attrs.get(NFTA_EXPR_DATA)?.toString("hex") ?? ""}`;
}
