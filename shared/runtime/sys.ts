/**
 * What depends on the runtime, behind one interface. sys_bun.ts, sys_node.ts and sys_quickjs.ts implement it;
 * nothing else in the project names a runtime.
 *
 * The libc calls return 0 or more, or the negated errno (-17 for EEXIST), as system calls do inside
 * the kernel. All of them run on the calling thread. That makes setns safe, as long as no `await`
 * stands between two setns calls.
 */
export interface Sys {
  /** argv[0]: the name that the process was started by, which may be that of a link. */
  readonly argv0: string;
  /** The arguments. A container runtime gives a plugin none. */
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;

  /** Reads all of stdin. Throws RangeError as soon as there is more than `maxBytes`. */
  readStdin(maxBytes: number): string;
  /** Writes all of `text`, and waits for a slow reader. Throws if the reader is gone. */
  write(fd: 1 | 2, text: string): void;
  /** Ends the process. What was written before is not lost. */
  exit(code: number): never;

  setns(fd: number, nstype: number): number;
  socket(domain: number, type: number, protocol: number): number;
  setsockopt(fd: number, level: number, option: number, value: Uint8Array): number;
  /** @returns the number of bytes written to `into`. */
  getsockopt(fd: number, level: number, option: number, into: Uint8Array): number;
  bind(fd: number, address: Uint8Array): number;
  connect(fd: number, address: Uint8Array): number;
  /** Sends to the socket's default peer; for netlink, that is the kernel. */
  send(fd: number, data: Uint8Array, flags: number): number;
  recv(fd: number, into: Uint8Array, flags: number): number;
  /** Closes a file whose close may wait for the kernel, without waiting where the kernel allows that. */
  closeLater(fd: number): void;
  flock(fd: number, operation: number): number;
  /**
   * Waits for a lock in the kernel's queue. Only for a process's main thread.
   * @param milliseconds after which it answers -EINTR.
   */
  flockWithin(fd: number, operation: number, milliseconds: number): number;
  /** For the commands that take a struct. */
  fcntl(fd: number, command: number, struct: Uint8Array): number;
  /** Sets an extended attribute of what is at `path`, without following a symbolic link. */
  lsetxattr(path: string, name: string, value: Uint8Array): number;
  /** Reads an extended attribute, and returns its length. */
  lgetxattr(path: string, name: string, into: Uint8Array): number;

  /** The SHA-512 of a text or of bytes, as 128 hexadecimal digits. */
  readonly sha512: (data: string | Uint8Array) => string;

  /** Runs a command to its end, or kills it when it takes too long or prints too much. */
  run(command: string, args: readonly string[], options: RunOptions): RunResult;
}

/** What only processes that stay need. */
export interface LastingSys extends Sys {
  /** Listens to a non-blocking socket until the process ends, or until it is closed. */
  subscribe(fd: number, handlers: SocketHandlers): Subscription;

  /** Lets the kernel read of the executable little more than what is touched: for what stays. */
  readonly limitReadahead: () => void;
  /** Collects young garbage: some tenths of a millisecond. */
  readonly collectYoung: () => void;
  /**
   * Gives back what the start needed: garbage, compiled code, the executable's pages. They come back
   * when they are needed.
   */
  readonly shrink: () => void;

  /** {@link Sys.run}, while the event loop goes on. */
  start(command: string, args: readonly string[], options: RunOptions): Promise<RunResult>;
}

/** What to do with what comes in by a socket. */
export interface SocketHandlers {
  /** One datagram or more, whole. The bytes are good until it returns. */
  readonly data: (bytes: Buffer) => void;
  /** The kernel had no room for some. */
  readonly lost: () => void;
  /** Milliseconds between two looks at the socket, where the runtime cannot wait for it; 100 unless given. */
  readonly pollInterval?: number;
}

export interface Subscription {
  /** Stops listening; the socket stays open. */
  close(): void;
}

export interface RunOptions {
  readonly input: string;
  /** The whole environment of the command. */
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Milliseconds until it is killed. */
  readonly timeout: number;
  /** Bytes of stdout or of stderr after which it is killed. */
  readonly maxOutput: number;
  /**
   * Whether it writes its output a few bytes at a time, so that each write would wake this process.
   * The output then goes through a file in memory, and is read at the end.
   */
  readonly writesInPieces?: boolean;
  /** Open files that it inherits, as 3 and up. */
  readonly inherit?: readonly number[];
}

export interface RunResult {
  /** The exit status, or undefined if a signal ended it or it could not be started. */
  readonly status: number | undefined;
  readonly stdout: string;
  readonly stderr: string;
  /** Why there is no status: "timeout", "output" (too much), or the name of a signal or an errno. */
  readonly failure: string | undefined;
}

/** The executable that runs. */
export const ownExecutable = "/proc/self/exe";
