/** The names in the conflist of flannel's manifest. */

/** The network. */
export const defaultNetwork = "cbr0";

/** The bridge, which the bridge plugin makes where its config names none. */
export const defaultBridge = "cni0";
