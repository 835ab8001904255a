/** Looks at the state after a call: errors, addresses, files. */
import { expect } from "vitest";
import type { CniAnswer, Namespace, Sandbox } from "./cni.ts";

/** Expects one CNI error with one of these codes, and no other output. */
export function expectError(answer: CniAnswer, codes: number | readonly number[]): void {
  const context = `answer: ${answer.stdout} stderr: ${answer.stderr}`;
  expect(answer.json, context).toMatchObject({
    code: expect.any(Number),
    // kubelet shows "msg; details".
    msg: expect.stringMatching(/[^.\s]$/),
    details: expect.stringMatching(/\S/),
  });
  expect([codes].flat(), context).toContain(answer.json?.code);
  expect(answer.code, context).toBe(1);
  expect(answer.stderr, "a stack trace").not.toMatch(/^\s+at .*[(:]/m);
}

/** An interface's addresses as "address/prefix", without link-local ones. */
export async function globalAddresses(
  namespace: Namespace,
  ifname: string,
): Promise<readonly string[]> {
  const all = await namespace.addresses();
  const own = all.filter((entry) => entry.ifname === ifname && entry.scope === "global");
  for (const { local, tentative, dadfailed } of own) {
    expect({ local, tentative, dadfailed }, "duplicate address detection").toEqual({ local });
  }
  return own.map(({ local, prefixlen }) => `${local}/${prefixlen}`);
}

/** The content of every file in a directory. */
export async function filesIn(
  sandbox: Sandbox,
  directory: string,
): Promise<Record<string, string>> {
  const names = await sandbox.list(directory);
  const read = async (name: string): Promise<[string, string]> => [
    name,
    await sandbox.readFile(`${directory}/${name}`),
  ];
  return Object.fromEntries(await Promise.all(names.map(read)));
}
