/**
 * Seconds that a call may take in the agent. Its locks and tools give up long before, and its client waits
 * a little longer.
 */
export const callTimeout = 100;
