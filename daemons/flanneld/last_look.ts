/** What the last look at everything has found, so that one that would find the same can be left out. */
export class LastLook {
  readonly #digest: () => string | undefined;
  readonly #revision: () => number;
  #known: { readonly digest: string; readonly revision: number } | undefined;
  #before: string | undefined;
  #isFirst = true;
  #isDisturbed = false;

  /**
   * @param digest of what the kernel has; undefined where there is none.
   * @param revision another number after each change of what is believed or wanted.
   */
  constructor(digest: () => string | undefined, revision: () => number) {
    this.#digest = digest;
    this.#revision = revision;
  }

  /** Begins a look. @returns whether it would find what the last one has found. */
  begin(): boolean {
    // Nothing to compare the first one with.
    this.#before = this.#isFirst ? undefined : this.#digest();
    this.#isFirst = false;
    this.#isDisturbed = false;
    const known = this.#known;
    return (
      known !== undefined && known.digest === this.#before && known.revision === this.#revision()
    );
  }

  /**
   * Something else than the look tells what the kernel has: it may be older than what the look has
   * found, and be believed instead.
   */
  disturb(): void {
    this.#isDisturbed = true;
  }

  /** Ends a look: what it has found is known, unless the kernel has changed meanwhile. */
  end(): void {
    const digest = this.#before;
    const isKnown = !this.#isDisturbed && digest !== undefined && digest === this.#digest();
    this.#known = isKnown ? { digest, revision: this.#revision() } : undefined;
  }
}
