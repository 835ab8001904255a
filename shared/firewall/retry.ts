import { Failure, isFailure } from "../base/failure.ts";

/** Rounds of looking and deleting, each lost to another process that changed the same rules. */
const rounds = 3;

/**
 * Repeats what lost a race: between listing and deleting, another process changed the rules.
 * @throws Failure what `action` threw last; other than firewall, at once.
 */
export function retryOnConflict(action: () => void): void {
  for (let round = 1; ; round++) {
    try {
      action();
      return;
    } catch (error) {
      if (!isFailure(error, "firewall") || round >= rounds) throw error;
    }
  }
}

/** What an action given to {@link retryOnConflict} throws when what it found is no longer there. */
export function changedSince(): Failure {
  return new Failure(
    "firewall",
    "Cannot delete rules: another program changed nftables' rules at the same time.",
    "The call is repeated automatically.",
  );
}
