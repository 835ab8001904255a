import { startHealthServer } from "../../shared/daemon/health_server.ts";
import type { Health } from "../../shared/daemon/health_server.ts";
import { serveStatus } from "../../shared/daemon/status_socket.ts";
import { statusSocket } from "../../shared/files/paths.ts";
import type { Options } from "./options.ts";
import type { Service } from "./readiness.ts";

/** flanneld's state, as its servers tell it. */
export interface StateTexts extends Health {
  /** For `flanneld status`: JSON. */
  readonly snapshot: () => string;
}

/**
 * Serves flanneld's state: by HTTP if the options have a port, and at its status socket.
 * @param report told why a server cannot listen, which tries again, and undefined when it can.
 */
export function serveState(
  { health: at, subnetFile }: Pick<Options, "health" | "subnetFile">,
  texts: StateTexts,
  report: (service: Service, problem: string | undefined) => void,
): { readonly close: () => void } {
  const health =
    at.port === 0
      ? undefined
      : startHealthServer("flanneld", at, texts, (problem) => {
          report("health", problem);
        });
  const status = serveStatus(statusSocket(subnetFile), texts.snapshot, (problem) => {
    report("status", problem);
  });
  return {
    close: () => {
      health?.close();
      status.close();
    },
  };
}
