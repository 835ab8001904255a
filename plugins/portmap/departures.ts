import {
  createFile,
  ensureFolder,
  isPresent,
  listIfPresent,
  removeFileOrEmptyFolder,
} from "../../shared/files/files.ts";
import { keptResultName, resultsFolder } from "../../shared/files/paths.ts";
import type { Attachment } from "../../shared/cni/request.ts";

/**
 * Marks attachments whose DEL is done while their cached results still exist: a runtime removes a
 * result after the last plugin's DEL. Until then it looks as if something else had removed the
 * rules and the record, and the mark keeps them from being restored.
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
   * Whether an attachment exists, by its cached result, and its DEL has not begun. Called with the
   * records locked: a later DEL finds what is made meanwhile.
   */
  isStaying(network: string, attachment: Attachment): boolean {
    const name = keptResultName(network, attachment);
    // In this order, because a mark is removed after the result.
    return !isPresent(`${this.#folder}/${name}`) && isPresent(`${this.#results}/${name}`);
  }

  /** Removes the mark of an attachment that is added again. */
  forget(network: string, attachment: Attachment): void {
    removeFileOrEmptyFolder(`${this.#folder}/${keptResultName(network, attachment)}`);
  }

  /** Removes the marks of attachments whose results are gone. */
  sweep(): void {
    for (const name of listIfPresent(this.#folder)) {
      if (isPresent(`${this.#results}/${name}`)) continue;
      removeFileOrEmptyFolder(`${this.#folder}/${name}`);
    }
  }
}
