/** The parts of a running flanneld, for tests of what lies between them. */
import { onTestFinished } from "vitest";

import type { NodeSetup } from "../../../../daemons/flanneld/node_setup.ts";
import type { DaemonContext } from "../../../../daemons/flanneld/daemon_context.ts";
import type { ExternalInterface } from "../../../../daemons/flanneld/backends/backend.ts";
import type { AdmissionContext } from "../../../../daemons/flanneld/leases/admission.ts";
import type { LeaseManager } from "../../../../daemons/flanneld/leases/lease_manager.ts";
import type { Options } from "../../../../daemons/flanneld/options.ts";
import { Readiness } from "../../../../daemons/flanneld/readiness.ts";
import type { Lease } from "../../../../shared/flannel/lease.ts";
import { parseAddress } from "../../../../shared/net/address.ts";
import { parseCidr } from "../../../../shared/net/cidr.ts";
import { recordingLog } from "../../shared/daemon/recording_log.ts";
import { fakeSys } from "../../shared/runtime/fake_sys.ts";

/** The lease of the node with a number, which also is in its subnet and its address. */
export function leaseOf(number: number, backendType = "vxlan"): Lease {
  return {
    ...{ id: `n${number}`, since: number, subnetV6: undefined },
    subnet: parseCidr(`10.244.${number}.0/24`),
    attributes: {
      ...{ publicIp: parseAddress(`10.77.0.1${number}`), publicIpv6: undefined, backendType },
      ...{ backendData: undefined, backendV6Data: undefined },
    },
  };
}

/** What node 1 requires of its peers' leases. */
export const context: AdmissionContext = {
  ...{ network: parseCidr("10.244.0.0/16"), ipv6Network: undefined, nodeNetworks: [] },
  ...{ ownSubnets: [parseCidr("10.244.1.0/24")], ownAddresses: [parseAddress("10.77.0.11")] },
};

export const eth0: ExternalInterface = {
  ...{ name: "eth0", index: 2, mtu: 1500 },
  ...{ address: parseAddress("10.77.0.11"), addressV6: undefined },
  ...{ publicIp: parseAddress("10.77.0.11"), publicIpv6: undefined },
};

/** @param published gets the addresses that peers are told. */
export function daemonContext(subnetFile: string, published: unknown[] = []) {
  const { log, lines } = recordingLog();
  const stop = new AbortController();
  onTestFinished(() => {
    stop.abort();
  });
  const manager: Partial<LeaseManager> = {
    publish: async ({ publicIp }) => void published.push(publicIp),
  };
  const daemon: DaemonContext = {
    ...{ log, signal: stop.signal, opened: [], readiness: new Readiness(log) },
    sys: fakeSys({ collectYoung: () => {} }),
    options: { subnetFile, traffic: { masquerade: true } } as Options,
    manager: manager as LeaseManager,
  };
  return { daemon, lines, stop };
}

/** What a node with vxlan has decided at its start. */
export function nodeSetup(parts: Partial<NodeSetup> = {}): NodeSetup {
  const setup: Partial<NodeSetup> = {
    conf: {
      ...{ enableIpv4: true, enableIpv6: false, enableNftables: false },
      ...{ network: parseCidr("10.244.0.0/16"), ipv6Network: undefined },
      ...{ subnets: undefined, ipv6Subnets: undefined, backendType: "vxlan", backend: {} },
    },
    backend: {
      mtu: ({ mtu }: ExternalInterface) => mtu - 50,
      attributes: ({ publicIp }: ExternalInterface) => ({ publicIp }),
    } as unknown as NodeSetup["backend"],
    ...{ external: eth0, keeper: undefined, macs: { ipv4: "", ipv6: "" } },
    earlierBackends: { follow: async () => {} } as unknown as NodeSetup["earlierBackends"],
    ...parts,
  };
  return setup as NodeSetup;
}
