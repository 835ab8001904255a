import { setTimeout } from "node:timers/promises";

/** Repeats a look until it is right, for at most `limit` milliseconds. Returns the last value. */
export async function eventually<T>(
  look: () => Promise<T>,
  isRight: (value: T) => boolean,
  limit = 3000,
): Promise<T> {
  const end = performance.now() + limit;
  for (;;) {
    const value = await look();
    if (isRight(value) || performance.now() > end) return value;
    await setTimeout(20);
  }
}
