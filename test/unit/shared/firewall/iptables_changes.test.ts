import fc from "fast-check";
import { expect, test } from "vitest";

import { hostPortRuleset } from "../../../../shared/firewall/host_ports.ts";
import { addChanges } from "../../../../shared/firewall/iptables_changes.ts";
import { anyForward } from "./arbitraries.ts";
import { digest, forward } from "./forwards.ts";

test("all host ports have an encoding, but for the conditions of the user", () => {
  fc.assert(
    fc.property(anyForward, (given) => {
      const plain = { ...given, options: { ...given.options, conditions: { 4: [], 6: [] } } };
      for (const family of [4, 6] as const) {
        const rules = hostPortRuleset(plain, [plain], digest).iptables(family);
        expect(rules && addChanges(rules, family)).toBeDefined();
      }
    }),
  );
  const conditions = { 4: ["-m", "conntrack", "--ctstate", "NEW"], 6: [] };
  const conditional = forward({ options: { conditions } });
  const rules = hostPortRuleset(conditional, [conditional], digest).iptables(4);
  expect(rules && addChanges(rules, 4)).toBeUndefined();
});
