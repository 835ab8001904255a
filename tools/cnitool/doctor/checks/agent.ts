import type { Finding } from "../../../../shared/preconditions/finding.ts";
import type { View } from "../view.ts";

const restart =
  "systemctl restart flannel-cni-agent (in a cluster: delete the pod of kube-flannel-agent on this node)";
const means = "Pods start, but the plugins do all the work themselves, and a call takes longer.";

/** The agent, if there is or was one: whether it takes the calls of this build. */
export function checkAgent({ agent }: View): Finding[] {
  const common = { severity: "warning", means, fix: restart } as const;
  switch (agent.kind) {
    case "none":
      return [];
    case "gone":
      return [
        {
          id: "agent-gone",
          what: "The agent was here, and has ended: there is only its socket.",
          ...common,
        },
      ];
    case "silent":
      return [
        { id: "agent-silent", what: "The agent does not answer within two seconds.", ...common },
      ];
    case "answers":
      return agent.buildId === agent.ownBuildId
        ? []
        : [
            {
              id: "agent-of-another-build",
              what: "The agent is of another build than this executable, whose calls it does not take.",
              ...common,
            },
          ];
  }
}
