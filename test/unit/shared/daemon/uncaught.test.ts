import { EventEmitter } from "node:events";
import { describe, expect, it } from "vitest";

import { Failure } from "../../../../shared/base/failure.ts";
import { handleUncaught } from "../../../../shared/daemon/uncaught.ts";
import { recordingLog } from "./recording_log.ts";

describe.each(["uncaughtException", "unhandledRejection"])("%s", (event) => {
  function start() {
    const source = new EventEmitter();
    const { log, lines } = recordingLog();
    const exits: number[] = [];
    const controller = new AbortController();
    handleUncaught("flanneld", source, log, {
      signal: controller.signal,
      exit: (code) => exits.push(code),
    });
    const raise = (error: unknown): boolean => source.emit(event, error);
    return { raise, lines, exits, controller };
  }

  it("of a failure is logged as others are, and ends nothing", () => {
    const { raise, lines, exits } = start();
    for (const name of ["eth0", "eth0", "eth1"]) {
      raise(new Failure("kernel", `Cannot list ${name}.`, "Wait."));
    }
    expect(lines).toEqual(["E Cannot list eth0. Wait.", "E Cannot list eth1. Wait."]);
    expect(exits).toEqual([]);
  });

  it("of a defect is logged with its stack, and ends the process", () => {
    const { raise, lines, exits } = start();
    raise(new TypeError("x is undefined"));
    expect(lines[0]).toMatch(
      /^E This is a defect of flanneld: TypeError: x is undefined\n +at .*uncaught\.test/,
    );
    expect(exits).toEqual([1]);
  });

  it("of what waits when the daemon ends is nothing", () => {
    const { raise, lines, exits, controller } = start();
    controller.abort();
    raise(controller.signal.reason);
    expect([lines, exits]).toEqual([[], []]);
  });
});
