import { Failure } from "../../shared/base/failure.ts";
import type { Lease } from "../../shared/flannel/lease.ts";
import type { NetConf } from "../../shared/flannel/net_conf.ts";
import { readSubnetEnv } from "../../shared/flannel/subnet_env.ts";
import type { SubnetEnv } from "../../shared/flannel/subnet_env.ts";
import type { Family } from "../../shared/net/address.ts";
import type { Cidr } from "../../shared/net/cidr.ts";
import type { LastingSys } from "../../shared/runtime/sys.ts";
import { chooseInterface } from "./external_interface.ts";
import type { ExternalInterface } from "./backends/backend.ts";
import type { AdmissionContext } from "./leases/admission.ts";
import type { Subnets } from "./leases/etcd_entries.ts";
import type { KnownLease, NodeSettings } from "./leases/lease_manager.ts";
import { networksOf, observeInterfaces } from "./observe_interfaces.ts";
import type { InterfaceOptions } from "./options.ts";
import type { TrafficSubnet } from "./traffic/keeper.ts";

/** What flanneld, its dry run and its cleanup have to know of the node that they run on. */

/** The subnets of a lease. */
export function subnetsOf({ subnet, subnetV6 }: Pick<Lease, "subnet" | "subnetV6">): Cidr[] {
  return [subnet, subnetV6].filter((known) => known !== undefined);
}

/** The lease that this node had when subnet.env was written. */
export function leaseIn({ subnets }: SubnetEnv): KnownLease {
  const subnetOf = (family: Family) => subnets.find(({ address }) => address.family === family);
  return { id: "", subnet: subnetOf(4), subnetV6: subnetOf(6) };
}

/** The interface that leads to the other nodes. @throws Failure */
export function chooseExternal(
  sys: LastingSys,
  given: InterfaceOptions,
  settings: NodeSettings,
  conf: NetConf,
): ExternalInterface {
  const options = interfaceOptions(given, settings);
  const chosen = chooseInterface(observeInterfaces(sys, options.canReach), options, conf);
  return { ...chosen, mtu: settings.mtu ?? chosen.mtu };
}

/** The settings of this node take precedence over the options. */
function interfaceOptions(options: InterfaceOptions, settings: NodeSettings): InterfaceOptions {
  const { iface, ifaceRegex, publicIp, publicIpv6 } = settings;
  const isSet = iface !== undefined || ifaceRegex !== undefined;
  return {
    ...options,
    ...(isSet
      ? {
          iface: [iface].filter((name) => name !== undefined),
          ifaceRegex: [ifaceRegex].filter((regex) => regex !== undefined),
          canReach: undefined,
        }
      : {}),
    publicIp: publicIp ?? options.publicIp,
    publicIpv6: publicIpv6 ?? options.publicIpv6,
  };
}

/** What peers' leases must agree with on this node. @throws Failure kernel */
export function admissionContext(
  sys: LastingSys,
  { network, ipv6Network }: NetConf,
  lease: Lease,
  { index, publicIp, publicIpv6 }: ExternalInterface,
): AdmissionContext {
  return {
    network,
    ipv6Network,
    ownSubnets: subnetsOf(lease),
    ownAddresses: [publicIp, publicIpv6].filter((address) => address !== undefined),
    nodeNetworks: networksOf(observeInterfaces(sys, undefined), index),
  };
}

/** The subnets whose traffic has rules. */
export function trafficSubnets(
  { network, ipv6Network }: NetConf,
  { subnet, subnetV6 }: Lease,
): TrafficSubnet[] {
  return [...trafficSubnet(4, network, subnet), ...trafficSubnet(6, ipv6Network, subnetV6)];
}

function trafficSubnet(
  family: Family,
  network: Cidr | undefined,
  subnet: Cidr | undefined,
): TrafficSubnet[] {
  return network === undefined || subnet === undefined ? [] : [{ family, network, subnet }];
}

/** subnet.env of an earlier run; undefined if it is missing or damaged. */
export function readEarlier(path: string): SubnetEnv | undefined {
  try {
    return readSubnetEnv(path);
  } catch (error) {
    if (error instanceof Failure) return undefined;
    throw error;
  }
}

/** The subnets of an earlier run, which etcd gives again. */
export function earlierSubnets(path: string): Subnets | undefined {
  const subnets = readEarlier(path)?.subnets ?? [];
  const subnet = subnets.find(({ address }) => address.family === 4);
  if (subnet === undefined) return undefined;
  return { subnet, subnetV6: subnets.find(({ address }) => address.family === 6) };
}
