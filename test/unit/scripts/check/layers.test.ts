import { describe, expect, test } from "vitest";
import { problemsOf } from "../../../../scripts/check/layers.ts";

/** What is wrong with a file that imports something. */
function problemsWith(file: string, from: string, what = "{ x }"): readonly string[] {
  return problemsOf([{ file, text: `import ${what} from "${from}";\n` }]);
}

describe("a file may import", () => {
  test.for([
    ["plugins/bridge/plugin.ts", "../../shared/cni/plugin.ts"],
    ["plugins/main.ts", "../tools/cnitool/main.ts"],
    ["daemons/flanneld/main.ts", "../../shared/kube/client.ts"],
    ["shared/node/node.ts", "../netlink/socket.ts"],
    ["shared/net/ipv6.ts", "ip-cidr"],
    ["scripts/demo/main.ts", "../../test/lab/sandbox.ts"],
    ["scripts/demo/main.ts", "../terminal.ts"],
    ["scripts/bench/floor.ts", "../../shared/cni/request.ts"],
    ["scripts/build/bundle.ts", "esbuild"],
    ["test/helpers/portmap.ts", "../lab/sandbox.ts"],
    ["test/netns/bridge.test.ts", "../helpers/cni.ts"],
    ["test/fault/entry_bun.ts", "../../shared/runtime/sys_bun.ts"],
    ["test/unit/shared/node/node.test.ts", "../../../../shared/netlink/socket.ts"],
    ["test/unit/shared/node/node.test.ts", "../netlink/helpers.ts"],
    ["test/unit/shared/files/files.test.ts", "../../temporary_folder.ts"],
    ["test/unit/docs.test.ts", "../../shared/cni/error.ts"],
  ])("%s: %s", ([file = "", from = ""]) => {
    expect(problemsWith(file, from)).toEqual([]);
  });

  test("types that it could not import otherwise", () => {
    const [file, from] = ["test/lab/cni.ts", "../../shared/base/json.ts"];
    expect(problemsWith(file, from, "type { Json }")).toEqual([]);
    expect(problemsWith(file, from)).toEqual([
      "test/lab/cni.ts:1: test/lab/ may not import shared/base/json.ts",
    ]);
  });
});

describe("a file may not import", () => {
  test.for([
    ["plugins/bridge/plugin.ts", "../portmap/conf.ts"],
    ["plugins/bridge/plugin.ts", "../../tools/cnitool/main.ts"],
    ["tools/cnitool/main.ts", "../../plugins/builtins.ts"],
    ["shared/node/node.ts", "../cni/error.ts"],
    ["shared/net/cidr.ts", "../base/failure.ts"],
    ["shared/new/file.ts", "../base/json.ts"],
    ["shared/base/json.ts", "../../test/lab/cni.ts"],
    ["shared/net/cidr.ts", "ip-cidr"],
    ["plugins/bridge/plugin.ts", "execa"],
    ["daemons/flanneld/main.ts", "../../tools/cnitool/main.ts"],
    ["plugins/bridge/plugin.ts", "koffi"],
    ["shared/netlink/codec.ts", "netlink/dist/rt/rt.js"],
    ["scripts/demo/main.ts", "../bench/table.ts"],
    ["scripts/demo/main.ts", "../../test/helpers/cni.ts"],
    ["scripts/check/main.ts", "../../shared/base/json.ts"],
    ["scripts/new/main.ts", "../terminal.ts"],
    ["test/lab/sandbox.ts", "../../plugins/bridge/conf.ts"],
    ["test/lab/sandbox.ts", "../../shared/node/node.ts"],
    ["test/lab/sandbox.ts", "../helpers/cni.ts"],
    ["test/helpers/cni.ts", "../../plugins/bridge/conf.ts"],
    ["test/helpers/cni.ts", "../netns/bridge.test.ts"],
    ["test/netns/bridge.test.ts", "../../plugins/bridge/conf.ts"],
    ["test/interop/bridge.test.ts", "../../shared/netlink/socket.ts"],
    ["test/unit/shared/net/cidr.test.ts", "../../../../shared/netlink/socket.ts"],
    ["test/unit/shared/net/cidr.test.ts", "../netlink/helpers.ts"],
    ["test/unit/shared/node/node.test.ts", "../../../../plugins/bridge/conf.ts"],
    ["test/unit/plugins/bridge/plan.test.ts", "../../../../plugins/portmap/conf.ts"],
    ["test/unit/plugins/bridge/plan.test.ts", "../../../lab/sandbox.ts"],
  ])("%s: %s", ([file = "", from = ""]) => {
    expect(problemsWith(file, from)).toHaveLength(1);
  });

  test("more from another module, or when it is asked for", () => {
    const text = 'export { x } from "../cni/error.ts";\nconst y = import("../cni/result.ts");\n';
    expect(problemsOf([{ file: "shared/node/node.ts", text }])).toEqual([
      "shared/node/node.ts:1: shared/node/ may not import shared/cni/error.ts",
      "shared/node/node.ts:2: shared/node/ may not import shared/cni/result.ts",
    ]);
  });
});
