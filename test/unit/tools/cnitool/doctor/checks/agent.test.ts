/** The agent: whether there is one that takes this build's calls. */
import { testFaults, testFine } from "../view.ts";

const ownBuildId = "b1";

testFaults([
  {
    name: "an agent that was killed",
    id: "agent-gone",
    changes: { agent: { kind: "gone", buildId: "b1", ownBuildId } },
    what: "has ended",
    fix: "systemctl restart flannel-cni-agent",
  },
  {
    name: "an agent that is stopped",
    id: "agent-silent",
    changes: { agent: { kind: "silent", buildId: "b1", ownBuildId } },
    what: "does not answer",
    fix: "systemctl restart flannel-cni-agent",
  },
  {
    name: "an agent from before an installation",
    id: "agent-of-another-build",
    changes: { agent: { kind: "answers", buildId: "b0", ownBuildId } },
    what: "another build",
    fix: "systemctl restart flannel-cni-agent",
  },
]);

testFine([
  ["an agent of this build", { agent: { kind: "answers", buildId: "b1", ownBuildId } }],
  ["no agent", { agent: { kind: "none", buildId: "b0", ownBuildId } }],
]);
