/** What Buffer's methods answer, in the engine that has them: `answersOf` of globalThis. */
import { Bytes, bytesOf } from "../../../../shared/runtime/bytes_quickjs.ts";
import { hostRegisters } from "../../../../shared/runtime/libc_quickjs.ts";
import { answersOf } from "./buffer_answers.ts";

const made = Object.assign(Bytes, bytesOf) as unknown as typeof Buffer;

Object.assign(globalThis, {
  hostRegisters,
  answers: (seed: number, count: number) => JSON.stringify(answersOf(made, seed, count)),
});
