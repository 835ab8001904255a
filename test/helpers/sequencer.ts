import { BaseSequencer, type TestSpecification } from "vitest/node";

/**
 * The order of the test files: what waits long starts early, so that nothing is waited for alone at the
 * end. A worker serves one project, so those follow each other.
 */
export class Sequencer extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    // oxlint-disable-next-line unicorn/no-array-sort -- a sequencer is no array
    const sorted = await super.sort(files);
    return sorted.toSorted((file, next) => placeOf(file) - placeOf(next));
  }
}

const projects = ["unit", "bun", "pkg", "agent", "dying-agent"];

function placeOf({ project, moduleId }: TestSpecification): number {
  const isLong = /\/test\/(e2e|fault)\//.test(moduleId);
  return 2 * projects.indexOf(project.name) + (isLong ? 0 : 1);
}
