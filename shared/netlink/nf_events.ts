import { closeSync } from "node:fs";

import type { Subscription, LastingSys } from "../runtime/sys.ts";
import { joinGroups } from "./multicast.ts";

const NETLINK_NETFILTER = 12;
const NFNLGRP_NFTABLES = 7;

/**
 * Listens to nf_tables, in the namespace that the thread is in.
 * @param onChange called once or more after each change of any rule, chain or table.
 * @param pollInterval milliseconds between two looks where the runtime cannot wait for a socket.
 * @throws Failure kernel
 */
export function listenToRules(
  sys: LastingSys,
  onChange: () => void,
  pollInterval: number,
): Subscription {
  const fd = joinGroups(sys, NETLINK_NETFILTER, [NFNLGRP_NFTABLES]);
  const subscription = sys.subscribe(fd, { data: onChange, lost: onChange, pollInterval });
  return {
    close: () => {
      subscription.close();
      closeSync(fd);
    },
  };
}
