import { expect, test } from "vitest";

import { answersOf } from "./buffer_answers.ts";
import { openVm } from "./quickjs_vm.ts";

test("Buffer's methods answer as Node's do", async () => {
  const vm = await openVm("test/unit/shared/runtime/bytes_quickjs.probe.ts");
  const [seed, count] = [Math.floor(Math.random() * 2 ** 32), 5000];
  const answers: unknown = JSON.parse(vm.evalCode(`answers(${seed}, ${count})`).toString());
  const wanted: unknown = JSON.parse(JSON.stringify(answersOf(Buffer, seed, count)));
  expect(answers, `seed ${seed}`).toEqual(wanted);
});
