/** Bytes that nothing prints: no log, no JSON, no error. */
export class Secret {
  readonly #bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  /** For whoever needs them. */
  reveal(): Uint8Array {
    return this.#bytes;
  }

  isSame(secret: Secret): boolean {
    const [a, b] = [this.#bytes, secret.reveal()];
    let difference = a.length ^ b.length;
    for (const [at, byte] of a.entries()) difference |= byte ^ (b[at] ?? 0);
    return difference === 0;
  }

  toString(): string {
    return "(secret)";
  }
}

/** Whether both are absent, or the same. */
export function sameSecret(a: Secret | undefined, b: Secret | undefined): boolean {
  return a === undefined || b === undefined ? a === b : a.isSame(b);
}
