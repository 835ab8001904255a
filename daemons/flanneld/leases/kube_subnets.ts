import { Failure } from "../../../shared/base/failure.ts";
import type { Lease } from "../../../shared/flannel/lease.ts";
import type { NetConf } from "../../../shared/flannel/net_conf.ts";
import type { ObjectMetadata } from "../../../shared/kube/metadata.ts";
import { formatCidr } from "../../../shared/net/cidr.ts";
import type { Cidr } from "../../../shared/net/cidr.ts";
import { isWithin } from "../../../shared/net/subnets.ts";
import { AnnotationError, readSubnets } from "./annotations.ts";

type Subnets = Pick<Lease, "subnet" | "subnetV6">;

/**
 * The subnets that the controller manager has given to a node, in the families of the network.
 * @param netConfPath for messages.
 * @throws Failure missing
 */
export function assignedSubnets(
  { name, podCidrs = [] }: Pick<ObjectMetadata, "name" | "podCidrs">,
  { network, ipv6Network }: Pick<NetConf, "network" | "ipv6Network">,
  netConfPath: string,
): Subnets {
  const { subnet, subnetV6 } = parsed(name, podCidrs);
  return {
    subnet: checked(name, subnet, network, "IPv4", netConfPath),
    subnetV6: checked(name, subnetV6, ipv6Network, "IPv6", netConfPath),
  };
}

function parsed(name: string, podCidrs: readonly string[]): Subnets {
  try {
    return readSubnets(podCidrs);
  } catch (error) {
    if (!(error instanceof AnnotationError)) throw error;
    throw noSubnet(name, error.message);
  }
}

function checked(
  name: string,
  subnet: Cidr | undefined,
  network: Cidr | undefined,
  family: string,
  netConfPath: string,
): Cidr | undefined {
  if (network === undefined) return undefined;
  if (subnet === undefined) throw noSubnet(name, `it has no ${family} podCIDR yet`);
  if (isWithin(subnet, network)) return subnet;
  throw new Failure(
    "missing",
    `Cannot get a subnet for the node ${name}: its podCIDR ${formatCidr(subnet)} is outside of the network ${formatCidr(network)}.`,
    `Make the network in ${netConfPath} the controller manager's --cluster-cidr.`,
  );
}

function noSubnet(name: string, why: string): Failure {
  return new Failure(
    "missing",
    `Cannot get a subnet for the node ${name}: ${why}.`,
    "The controller manager assigns it: make sure that it runs with --allocate-node-cidrs and --cluster-cidr (kubeadm init --pod-network-cidr).",
  );
}
