/** The messages between the benchmark and its workers: one line of JSON each way. */

/** A lane is one pod, whose calls run one after another. All lanes of a request run at once. */
export interface Request {
  readonly lanes: readonly (readonly Call[])[];
  /** Whether to measure memory. That slows the calls down, so their times mean nothing. */
  readonly memory: boolean;
}

/** One call of one plugin. */
export interface Call {
  readonly file: string;
  readonly args?: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly conf: Readonly<Record<string, unknown>>;
  /** Whether to put the result of the lane's previous call into the config. */
  readonly takesResult: boolean;
}

/** What a call took, in milliseconds and MB. */
export interface Cost {
  readonly wall: number;
  /** CPU time of the process and its children, and of the agent since the call before. */
  readonly user: number;
  readonly system: number;
  /** The highest memory use of the plugin's own process; 0 if it was not measured. */
  readonly rss: number;
}

export interface Reply {
  /** From the first start to the last end. */
  readonly wall: number;
  /** For each lane, the costs of its calls. */
  readonly lanes: readonly (readonly Cost[])[];
  /** For each lane, the result that its last call printed. */
  readonly results: readonly unknown[];
}

/** Answers each line of stdin until stdin ends. The first line of output says that the worker is ready. */
export async function serve(
  lines: AsyncIterable<string>,
  answer: (request: Request) => Promise<Reply> | Reply,
): Promise<void> {
  console.log("ready");
  for await (const line of lines) {
    const reply: Reply | { error: string } = await Promise.resolve(JSON.parse(line) as Request)
      .then(answer)
      .catch((error: unknown) => ({ error: String(error) }));
    console.log(JSON.stringify(reply));
  }
}
