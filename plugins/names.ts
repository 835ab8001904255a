/**
 * What a runtime calls: the names that install-cni gives the executable on a node. They are apart from
 * the table of what they mean, for a process that asks the agent has no need of it.
 */
export const pluginNames = ["flannel", "bridge", "host-local", "loopback", "portmap"] as const;
