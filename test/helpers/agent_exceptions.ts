/** What does not run with an agent in each sandbox, and why. */
export interface AgentException {
  /** A file below test/, or a pattern of such. */
  readonly file: string;
  /** Of the tests in it, those with this in their full names; all, if it is absent. */
  readonly name?: RegExp;
  /** With agents that die alone. */
  readonly onlyDying?: true;
  readonly why: string;
}

export const agentExceptions: readonly AgentException[] = [
  { file: "fault/agent*.test.ts", why: "it starts agents of its own" },
  { file: "fault/orphan.test.ts", why: "it is about calls without an agent" },
  { file: "fault/late_add.test.ts", why: "it is about calls without an agent" },
  { file: "fault/native_client.test.ts", why: "it has an agent of its own" },
  { file: "netns/agent_deploy.test.ts", why: "it starts agents of its own" },
  { file: "netns/engine.test.ts", why: "it is about calls without an agent" },
  {
    file: "netns/protocol.test.ts",
    name: /refuses, in the config, > an empty name/,
    onlyDying: true,
    why: "DEL cannot use a config without a name either",
  },
  { file: "netns/sandbox.test.ts", why: "it calls no plugin" },
  { file: "netns/flanneld/*.test.ts", why: "flanneld asks no agent" },
  { file: "fault/flanneld*.test.ts", why: "flanneld asks no agent" },
  { file: "interop/flanneld/*.test.ts", why: "flanneld asks no agent" },
  { file: "e2e/*.test.ts", why: "its nodes are virtual machines and containers" },
  { file: "netns/cnitool_help.test.ts", why: "it calls no plugin" },
  { file: "netns/install.test.ts", why: "it calls no plugin" },
  { file: "netns/doctor.test.ts", onlyDying: true, why: "doctor finds that the agent has ended" },
  {
    file: "netns/docs.test.ts",
    onlyDying: true,
    why: "commands are run once, as they are written",
  },
  {
    file: "netns/cnitool_ps.test.ts",
    name: /leaves out loopback interfaces|finds the namespace of a pod by its result/,
    onlyDying: true,
    why: "doctor finds that the agent has ended",
  },
  {
    file: "netns/cnitool_ps.test.ts",
    name: /a file that is no namespace/,
    onlyDying: true,
    why: "it unmounts a namespace that an agent which is stopped may have open",
  },
  {
    file: "netns/bridge_node.test.ts",
    name: /however busy the kernel is/,
    onlyDying: true,
    why: "a script makes the calls, once",
  },
  {
    file: "netns/cnitool.test.ts",
    name: /by a relative path|as commands that do the same/,
    onlyDying: true,
    why: "a script makes the calls, once",
  },
  {
    file: "netns/portmap_owners.test.ts",
    name: /without a socket of its protocol/,
    onlyDying: true,
    why: "a script makes the call, once",
  },
  {
    file: "netns/bridge_node.test.ts",
    name: /sysctls that are right already are not written/,
    why: "it traces the call's own process",
  },
  {
    file: "netns/portmap_rules.test.ts",
    name: /leaves no socket to netfilter open/,
    why: "the agent keeps its socket to netfilter",
  },
  {
    file: "netns/hostile_state.test.ts",
    name: /no file is left out/,
    why: "the agent has files of its own",
  },
  { file: "fault/stress.test.ts", why: "it waits until no process has a plugin's name" },
  { file: "fault/kill.test.ts", why: "the call's own process is killed at each system call" },
  { file: "fault/disk.test.ts", why: "the system calls of the call's own process fail" },
  { file: "fault/netlink.test.ts", why: "the requests of a process of its own are refused" },
  {
    file: "fault/power_cut.test.ts",
    why: "it follows the file operations of a process of its own",
  },
  { file: "fault/repeated_calls.test.ts", why: "it makes its calls in a process of its own" },
  { file: "fault/rules_by_netlink.test.ts", why: "it makes its rules in a process of its own" },
];
