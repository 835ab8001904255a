import fc from "fast-check";
import { expect, test } from "vitest";

import { hostPortRuleset } from "../../../../shared/firewall/host_ports.ts";
import { addChanges } from "../../../../shared/firewall/nftables_changes.ts";
import { anyForward } from "./arbitraries.ts";
import { digest, forward } from "./forwards.ts";

test("all host ports have an encoding, but for the conditions of the user", () => {
  fc.assert(
    fc.property(anyForward, (given) => {
      const plain = { ...given, options: { ...given.options, conditions: { 4: [], 6: [] } } };
      for (const family of [4, 6] as const) {
        const rules = hostPortRuleset(plain, [plain], digest).nftables([family]);
        expect(addChanges(rules)).toBeDefined();
      }
    }),
  );
  const conditional = forward({ options: { conditions: { 4: ["ct state new"], 6: [] } } });
  const rules = hostPortRuleset(conditional, [conditional], digest).nftables([4]);
  expect(addChanges(rules)).toBeUndefined();
});
