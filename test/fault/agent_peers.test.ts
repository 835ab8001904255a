/** The agent makes no call for a process that could not make it itself. */
import { describe, expect, test } from "vitest";
import { leftovers } from "../lab/leftovers.ts";
import { isBun } from "../helpers/form.ts";
import { callOf, createAgentLab, flannelConf } from "./agent_lab.ts";

const at = 1;

/** A root folder with the same content, but for /run, of which it has the agent's folder alone. */
const ownRoot = `
  root=/run/container
  mkdir -p $root; mount -t tmpfs tmpfs $root
  for entry in /*; do
    if [ -L $entry ]; then cp -a $entry $root/
    elif [ -d $entry ] && [ $entry != /run ]; then mkdir $root$entry; mount --rbind $entry $root$entry; fi
  done
  mkdir -p $root/run/flannel-cni $root/run/netns
  mount --rbind /run/flannel-cni $root/run/flannel-cni
  mount --rbind /run/netns $root/run/netns
  exec chroot $root "$@"
`;

const peers: readonly { name: string; by: readonly string[]; why: string }[] = [
  {
    name: "without CAP_NET_ADMIN",
    by: ["setpriv", "--bounding-set=-net_admin"],
    why: "it lacks CAP_NET_ADMIN or CAP_SYS_ADMIN",
  },
  {
    name: "without CAP_SYS_ADMIN",
    by: ["setpriv", "--bounding-set=-sys_admin"],
    why: "it lacks CAP_NET_ADMIN or CAP_SYS_ADMIN",
  },
  { name: "in another network namespace", by: ["unshare", "--net"], why: "its ns/net is not" },
  {
    name: "in another user namespace",
    by: ["unshare", "--user", "--map-root-user"],
    // Its rights there are none here.
    why: "A call is not taken, for it",
  },
  {
    name: "with another root folder",
    by: ["unshare", "--mount", "sh", "-ec", ownRoot, "sh"],
    why: "its root is not the agent's",
  },
];

describe.runIf(isBun).concurrent("a client", () => {
  test.for(peers)("$name is not served", async ({ by, why }) => {
    await using lab = await createAgentLab();
    await lab.node.addPod("pod1");
    const before = await lab.node.snapshot();
    const client = await lab.client(...by);
    // Such a process reaches no namespace by its path, but may have been passed a descriptor of one.
    const call = { ...callOf(lab, "ADD", "pod1"), pass: ["/proc/self/fd/2", "/proc/self/ns/net"] };
    await client.tell({ do: "open", at });
    await client.tell({ do: "ask", at, call });
    expect(await client.tell({ do: "read", at, most: 1 })).toBe("D");
    await client.stop();
    expect(lab.agent.log()).toContain(why);
    expect(leftovers(before, await lab.node.snapshot())).toEqual([]);
  });

  test("of another user cannot even connect", async () => {
    await using lab = await createAgentLab();
    const { exitCode } = await lab.node.exec("setpriv", [
      ...["--reuid=65534", "--regid=65534", "--clear-groups"],
      ...["ls", "/run/flannel-cni/agent/socket"],
    ]);
    expect(exitCode).not.toBe(0);
  });

  test("with the agent's rights is served", async () => {
    await using lab = await createAgentLab();
    await lab.node.addPod("pod1");
    const client = await lab.client("unshare", "--mount");
    expect((await client.call(callOf(lab, "ADD", "pod1", flannelConf))).words).toBe("OBR");
  });
});
