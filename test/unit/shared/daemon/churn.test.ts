import { expect, it } from "vitest";
import { Churn } from "../../../../shared/daemon/churn.ts";

it("has things collected once they are many, however they come", () => {
  let collected = 0;
  const churn = new Churn(() => {
    collected++;
  });
  for (let at = 0; at < 199; at++) churn.add(1);
  expect(collected).toBe(0);
  churn.add(1);
  expect(collected).toBe(1);
  churn.add(150);
  expect(collected).toBe(1);
  churn.add(150);
  expect(collected).toBe(2);
});
