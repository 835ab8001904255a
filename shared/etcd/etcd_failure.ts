import { Failure } from "../base/failure.ts";

/** gRPC's status codes (grpc/status.proto). */
export const status = {
  cancelled: 1,
  unknown: 2,
  invalidArgument: 3,
  deadlineExceeded: 4,
  permissionDenied: 7,
  unavailable: 14,
  unauthenticated: 16,
};

/** etcd has refused a request, or could not be reached. */
export class EtcdFailure extends Failure {
  /** gRPC's status code. */
  readonly code: number;

  constructor(what: string, why: string, code: number, options: ErrorOptions = {}) {
    super("io", `Cannot ${what}: ${why}.`, adviceFor(code), options);
    this.code = code;
  }
}

/** {@link EtcdClient.reconnect} has ended a stream: it is nobody's failure, and is begun again. */
export class Reconnected extends EtcdFailure {
  constructor(what: string) {
    super(what, "the connection is made anew", status.cancelled);
  }
}

function adviceFor(code: number): string {
  if (
    code === status.unauthenticated ||
    code === status.permissionDenied ||
    code === status.invalidArgument
  ) {
    return "Make sure that the user, the password or the client certificate is one that etcd knows, and may read and write the prefix.";
  }
  return "Make sure that etcd runs, that --etcd-endpoints lead to it, and that the certificates are its authority's.";
}
