/** Where a daemon says what it does: one line each, to stderr. */
export interface Log {
  readonly info: (text: string) => void;
  readonly warn: (text: string) => void;
  readonly error: (text: string) => void;
  /** For troubleshooting: with -v=1 and above. */
  readonly debug: (text: string) => void;
}

/** Characters of a line; what is longer is cut. */
const maxText = 2000;

/**
 * A log in klog's form: `I1125 10:41:53.747964   12851 flanneld] text`.
 * @param write takes a line with its end.
 */
export function createLog(
  write: (line: string) => void,
  program: string,
  verbosity: number,
  now: () => Date = () => new Date(),
): Log {
  const line = (level: string, text: string): void => {
    try {
      write(`${level}${stamp(now())} ${program}] ${oneLine(text)}\n`);
    } catch {
      // Its reader is gone, or the disk is full: the daemon's work goes on.
    }
  };
  return {
    info: (text) => line("I", text),
    warn: (text) => line("W", text),
    error: (text) => line("E", text),
    debug: (text) => {
      if (verbosity > 0) line("I", text);
    },
  };
}

function two(value: number): string {
  return String(value).padStart(2, "0");
}

function stamp(time: Date): string {
  const date = `${two(time.getMonth() + 1)}${two(time.getDate())}`;
  const clock = [time.getHours(), time.getMinutes(), time.getSeconds()].map(two).join(":");
  const fraction = String(time.getMilliseconds()).padStart(3, "0");
  return `${date} ${clock}.${fraction}000 ${String(process.pid).padStart(7)}`;
}

/** A message may quote others: their text must not end the line or move the cursor. */
function oneLine(text: string): string {
  const cut = text.length > maxText ? `${text.slice(0, maxText)}…` : text;
  return cut.replaceAll(/[\p{Cc}\u2028\u2029]+/gu, " ");
}
