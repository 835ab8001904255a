/** Expectations for a call in which something failed, and for the node afterwards. */
import { expect } from "vitest";
import { cni, type CniAnswer } from "../helpers/cni.ts";
import { expectError } from "../helpers/state.ts";
import { expectNothingLeft, succeed } from "./recovery.ts";
import { callOf, runChain } from "./scenarios.ts";
import { POD, reset, upTo, type Wreck } from "./wreck.ts";

/** Milliseconds: a little more than the longest wait of a call. */
const BOUND = 15_000;

/** The codes that a call may answer with if a file, a link or a rule fails. */
const CODES = [5, 11, 100, 101, 102, 107];
/** The same for a namespace that cannot be opened, which is an error of the environment (4). */
const NAMESPACE_CODES = [4, ...CODES];

/**
 * Makes a call fail, and expects an answer with a code, in time, and a complete rollback. Then DEL must
 * leave nothing, and ADD must succeed.
 * @param isLie whether the fault claims that something exists that does not, so that CHECK misses it.
 * @returns whether the call failed.
 */
export async function failAndRecover(
  wreck: Wreck,
  command: "ADD" | "DEL",
  fail: (call: ReturnType<typeof callOf>) => Promise<CniAnswer>,
  isLie = false,
): Promise<boolean> {
  const { node, scenario, before } = wreck;
  const prevResult = await upTo(node, scenario, command);
  const between = await node.snapshot();
  const answer = await fail(callOf(scenario, scenario.at, command, POD, prevResult));
  expect(answer.ms).toBeLessThan(BOUND);
  const failed = answer.code !== 0;
  if (failed) {
    const isNamespace = answer.json?.msg?.includes("the namespace") === true;
    expectError(answer, isNamespace ? NAMESPACE_CODES : CODES);
    if (command === "ADD" && !answer.stderr.includes("Cannot undo")) {
      await expectNothingLeft(node, between);
    }
  } else {
    expect(answer.stdout).toMatch(command === "ADD" ? /^\{/ : /^$/);
  }
  if (command === "ADD" && !failed && !isLie) {
    const check = await cni(
      node,
      callOf(scenario, scenario.at, "CHECK", POD, { prevResult: answer.json }),
    );
    expect(check.code, `CHECK: ${check.stdout}`).toBe(0);
  }
  await succeed(wreck, "DEL", POD);
  await expectNothingLeft(node, before);
  await reset(node);
  const { json } = await runChain(node, scenario, "ADD", POD);
  await succeed(wreck, "DEL", POD, json);
  await expectNothingLeft(node, before);
  return failed;
}
