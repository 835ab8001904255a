/** Words of advice that a shell takes as they are. */
import { expect, test } from "vitest";
import { ownCommand } from "../../../../tools/cnitool/shell.ts";

test.for([
  ["cnitool", "cnitool"],
  ["/opt/cni/bin/cnitool", "/opt/cni/bin/cnitool"],
  ["/opt/cni/bin/flannel", "/opt/cni/bin/flannel cnitool"],
  ["/flannel", "/flannel cnitool"],
  ["/my plugins/flannel", "'/my plugins/flannel' cnitool"],
])("the tool that was called as %s is called by %s", ([argv0 = "", command]) => {
  expect(ownCommand(argv0)).toBe(command);
});
