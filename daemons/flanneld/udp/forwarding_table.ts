/** Which node has which subnet. Addresses are numbers. */

/** A peer's subnet and the address that its packets are sent to. */
export interface Target {
  readonly subnet: number;
  readonly prefix: number;
  readonly address: number;
}

/** Nearly always all subnets have the same length, so a look-up needs one map. */
export class ForwardingTable {
  readonly #lengths = new Map<number, Map<number, number>>();

  set({ subnet, prefix, address }: Target): void {
    this.delete(subnet, prefix);
    const subnets = this.#lengths.get(prefix) ?? new Map<number, number>();
    this.#lengths.set(prefix, subnets);
    subnets.set(masked(subnet, prefix), address);
  }

  delete(subnet: number, prefix: number): void {
    const subnets = this.#lengths.get(prefix);
    subnets?.delete(masked(subnet, prefix));
    if (subnets?.size === 0) this.#lengths.delete(prefix);
  }

  /** @returns the address of the node that has an address; undefined if none has it. */
  find(address: number): number | undefined {
    for (const [prefix, subnets] of this.#lengths) {
      const found = subnets.get(masked(address, prefix));
      if (found !== undefined) return found;
    }
    return undefined;
  }
}

/** The network of an address. */
export function masked(address: number, prefix: number): number {
  return prefix === 0 ? 0 : (address & (-1 << (32 - prefix))) >>> 0;
}
