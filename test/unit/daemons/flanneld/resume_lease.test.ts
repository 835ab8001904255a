import { expect, it } from "vitest";

import type { NodeSetup } from "../../../../daemons/flanneld/node_setup.ts";
import { resumeLease } from "../../../../daemons/flanneld/resume_lease.ts";
import { context, daemonContext, eth0, leaseOf, nodeSetup } from "./daemon_parts.ts";

it("makes devices, then the ways to peers, then listens: no peer has been told of them yet", async () => {
  const steps: string[] = [];
  const { daemon } = daemonContext("");
  const note = (step: string) => async () => void steps.push(step);
  await resumeLease(
    {
      daemon,
      setup: nodeSetup({
        keeper: { listen: note("listen") } as unknown as NonNullable<NodeSetup["keeper"]>,
        earlierBackends: { follow: note("earlier") } as unknown as NodeSetup["earlierBackends"],
      }),
      reconciler: {
        configure: ({ isPublished }) => void steps.push(`published ${isPublished}`),
        whenTried: note("devices"),
      },
      peers: { whenComplete: note("known"), introduce: note("peers") },
      observe: { external: () => eth0, context: () => context },
    },
    leaseOf(1),
  );
  expect(steps).toEqual(["published false", "devices", "known", "peers", "listen", "earlier"]);
});
