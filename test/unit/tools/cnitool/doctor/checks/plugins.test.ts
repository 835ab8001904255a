/** Plugins' executables: there, whole, and what they are called. */
import { pluginFile, plugins, testFaults, type Fault } from "../view.ts";

const ours = ["flannel", "portmap", "loopback"].map((type) => pluginFile(type));

testFaults([
  {
    name: "a plugin is missing",
    id: "missing-plugin",
    severity: "error",
    changes: plugins(pluginFile("portmap", { path: undefined, versions: undefined, about: "" })),
    what: "The plugin portmap is not in /opt/cni/bin",
    fix: "ln -f /opt/cni/bin/flannel /opt/cni/bin/portmap",
  },
  {
    name: "a plugin is not executable",
    id: "missing-plugin",
    severity: "error",
    changes: plugins(
      pluginFile("macvlan", { path: undefined, unusable: "/opt/cni/bin/macvlan", about: "" }),
    ),
    what: "/opt/cni/bin/macvlan is not executable",
    fix: "install macvlan into /opt/cni/bin",
  },
  {
    name: "a plugin does not run",
    id: "broken-plugin",
    severity: "error",
    changes: plugins(pluginFile("flannel", { versions: undefined, problem: "ENOEXEC", about: "" })),
    what: "/opt/cni/bin/flannel does not run as a CNI plugin: ENOEXEC",
    fix: "ln -f",
  },
  ...["CNI bridge plugin v1.1.1", "CNI plugin bridge v0.8.0", "CNI Plugin bridge version v1.9"].map(
    (about): Fault => ({
      name: `every link is another program: ${about}`,
      id: "wrong-plugin",
      severity: "error",
      changes: plugins(pluginFile("portmap", { about })),
      what: `/opt/cni/bin/portmap is another plugin: it says that it is "${about}"`,
      fix: "ln -f /opt/cni/bin/flannel /opt/cni/bin/portmap",
    }),
  ),
  {
    name: "a plugin does not speak the network's version",
    id: "version-not-spoken",
    severity: "error",
    changes: plugins(pluginFile("flannel", { versions: ["0.4.0"] })),
    what: "supports CNI 0.4.0, but the network has cniVersion 1.0.0",
    fix: "or set cniVersion",
  },
  {
    name: "the plugins are of two suites",
    id: "mixed-plugins",
    changes: plugins(...ours, pluginFile("bridge", { about: "CNI bridge plugin v1.1.1" })),
    what: "bridge of CNI bridge plugin v1.1.1",
    fix: "ln -f /opt/cni/bin/flannel /opt/cni/bin/bridge",
  },
]);
