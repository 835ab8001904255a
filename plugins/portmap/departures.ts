import {
  createFile,
  ensureFolder,
  isPresent,
  listIfPresent,
  removeIfPresent,
} from "../../shared/files/files.ts";
import { keptResultName, resultsFolder } from "../../shared/files/paths.ts";
import type { Attachment } from "../../shared/cni/request.ts";

/**
 * Marks of attachments whose DEL is past, while their results are kept still: a runtime removes a result
 * after the last plugin's DEL. Until then the attachment looks as one whose rules and record something
 * has removed, and the mark says that nobody may restore them.
 */
export class Departures {
  readonly #folder: string;
  readonly #results: string;

  constructor(folder: string, results: string = resultsFolder) {
    this.#folder = folder;
    this.#results = results;
  }

  /** Marks an attachment, if a result of it is kept. Called with the records locked. */
  mark(network: string, attachment: Attachment): void {
    const name = keptResultName(network, attachment);
    if (!isPresent(`${this.#results}/${name}`)) return;
    ensureFolder(this.#folder, 0o700);
    createFile(`${this.#folder}/${name}`, "", 0o600);
  }

  /**
   * Whether an attachment is there, by its kept result, and no DEL of it has begun. Called with the
   * records locked: a DEL that comes later finds what is made meanwhile.
   */
  isStaying(network: string, attachment: Attachment): boolean {
    const name = keptResultName(network, attachment);
    // In this order, for a mark goes after the result.
    return !isPresent(`${this.#folder}/${name}`) && isPresent(`${this.#results}/${name}`);
  }

  /** Removes the mark of an attachment that is added again. */
  forget(network: string, attachment: Attachment): void {
    removeIfPresent(`${this.#folder}/${keptResultName(network, attachment)}`);
  }

  /** Removes the marks of attachments whose results are gone. */
  sweep(): void {
    for (const name of listIfPresent(this.#folder)) {
      if (!isPresent(`${this.#results}/${name}`)) removeIfPresent(`${this.#folder}/${name}`);
    }
  }
}
