/** What the functions of node:fs that plugins call come to in an empty folder, which has a link and a FIFO. */
import type * as nodeFs from "node:fs";

/** @returns the results and the errors of calls in order. @param fs node:fs, or what replaces it. */
export function fsOutcomes(fs: typeof nodeFs, folder: string): unknown[] {
  const outcomes: unknown[] = [];
  const missing = `${folder}/missing`;
  const file = `${folder}/file`;
  const link = `${folder}/link`;
  const utf8 = "grüße\n";
  const quiet = { throwIfNoEntry: false } as const;

  note(() => {
    fs.mkdirSync(`${folder}/a/b/c`, { recursive: true, mode: 0o750 });
  });
  note(() => fs.statSync(`${folder}/a/b/c`).mode);
  note(() => {
    fs.mkdirSync(`${folder}/a/b/c`, { recursive: true, mode: 0o750 });
  });
  note(() => {
    fs.writeFileSync(file, utf8, { mode: 0o600 });
  });
  note(() => fs.readFileSync(file, "utf8"));
  note(() => fs.readFileSync("/proc/sys/kernel/ostype", "utf8"));
  note(() => fs.readFileSync(missing, "utf8"));
  note(() => fs.readFileSync(folder, "utf8"));
  note(() => fs.readFileSync(`${file}/x`, "utf8"));
  note(() => {
    fs.writeFileSync(missing, "x", { flag: "r+" });
  });
  note(() => {
    fs.writeFileSync(file, "long ".repeat(20_000), { flag: "w" });
    return fs.readFileSync(file, "utf8").length;
  });
  note(() => {
    fs.writeFileSync(file, "GRUSS", { flag: "r+" });
    return fs.readFileSync(file, "utf8").slice(0, 12);
  });
  note(() => fs.openSync(file, "wx", 0o600));
  note(() => {
    const fd = fs.openSync(`${folder}/lock`, "a+", 0o640);
    const { mode } = fs.fstatSync(fd);
    fs.closeSync(fd);
    return mode;
  });
  note(() => {
    const { O_RDWR, O_CREAT, O_NOFOLLOW, O_NONBLOCK } = fs.constants;
    const flags = O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK;
    const fd = fs.openSync(`${folder}/private`, flags, 0o640);
    fs.fchmodSync(fd, 0o600);
    const { mode, uid } = fs.fstatSync(fd);
    fs.closeSync(fd);
    return [mode, uid];
  });
  note(() => fs.openSync(link, fs.constants.O_NOFOLLOW));
  note(() => {
    fs.chmodSync(`${folder}/private`, 0o400);
    return fs.statSync(`${folder}/private`).mode;
  });
  note(() => {
    fs.chmodSync(missing, 0o600);
  });
  note(() => {
    fs.fchmodSync(99_999, 0o600);
  });
  const { O_WRONLY, O_CREAT, O_TRUNC, O_NOCTTY, O_NOFOLLOW, O_NONBLOCK } = fs.constants;
  for (const path of [file, link, folder, missing, "/dev/null", `${folder}/${"x".repeat(256)}`]) {
    note(() => {
      const fd = fs.openSync(path, O_NONBLOCK | O_NOCTTY | O_NOFOLLOW);
      const { mode, size } = fs.fstatSync(fd);
      fs.closeSync(fd);
      return [mode, path === folder ? 0 : size];
    });
  }
  note(() => {
    fs.closeSync(fs.openSync(`${folder}/fifo`, O_NONBLOCK));
    return fs.openSync(`${folder}/fifo`, O_WRONLY | O_NONBLOCK);
  });
  note(() => {
    const fd = fs.openSync(`${folder}/over`, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0o600);
    const written = fs.writeSync(fd, Buffer.from("12345"), 0);
    fs.closeSync(fd);
    fs.closeSync(fs.openSync(`${folder}/over`, O_WRONLY | O_TRUNC));
    return [written, fs.readFileSync(`${folder}/over`, "utf8")];
  });
  note(() => {
    const fd = fs.openSync(`${folder}/new`, "wx", 0o644);
    const bytes = Buffer.from("0123456789");
    const written = [fs.writeSync(fd, bytes, 4), fs.writeSync(fd, bytes, 8)];
    fs.closeSync(fd);
    return [written, fs.readFileSync(`${folder}/new`, "utf8")];
  });
  note(() => {
    const fd = fs.openSync(`${folder}/new`, "r");
    const into = Buffer.alloc(8, ".".charCodeAt(0));
    const got = [fs.readSync(fd, into, 2, 3, null), fs.readSync(fd, into, 5, 2, null)];
    fs.closeSync(fd);
    return [got, into.toString("latin1")];
  });
  note(() => {
    fs.linkSync(`${folder}/new`, `${folder}/second`);
    return fs.statSync(`${folder}/second`).ino === fs.statSync(`${folder}/new`).ino;
  });
  note(() => {
    fs.linkSync(`${folder}/new`, `${folder}/second`);
  });
  note(() => {
    fs.renameSync(`${folder}/second`, `${folder}/third`);
  });
  note(() => {
    fs.renameSync(missing, file);
  });
  note(() => {
    fs.unlinkSync(`${folder}/third`);
  });
  note(() => {
    fs.unlinkSync(missing);
  });
  note(() => {
    fs.unlinkSync(folder);
  });
  note(() => {
    fs.mkdirSync(`${folder}/short`, { recursive: true, mode: 0o700 });
    fs.rmdirSync(`${folder}/short`);
  });
  note(() => {
    fs.rmdirSync(missing);
  });
  note(() => {
    fs.rmdirSync(folder);
  });
  note(() => {
    fs.rmdirSync(file);
  });
  note(() => fs.readdirSync(folder).toSorted());
  note(() => fs.readdirSync("/dev").includes("null"));
  note(() => fs.readdirSync(missing));
  note(() => fs.readdirSync(file));
  // Made by the test.
  note(() => fs.readlinkSync(link));
  note(() => fs.readlinkSync(file));
  note(() => fs.realpathSync(`${folder}/a/../link/./b`));
  note(() => fs.realpathSync(missing));
  note(() => fs.lstatSync(link, quiet)?.isSymbolicLink());
  note(() => fs.statSync(link, quiet)?.isSymbolicLink());
  note(() => fs.statSync(link).isDirectory());
  note(() => fs.statSync(file, quiet)?.isFile());
  note(() => fs.statSync(missing, quiet));
  note(() => fs.lstatSync(missing, quiet));
  note(() => fs.statSync(missing));
  note(() => fs.statSync(`${file}/x`, quiet));
  note(() => ["/dev/null", "/proc/self/ns/net", "/"].map((path) => fs.statSync(path).dev));
  note(() => fs.statSync("/proc/1/ns/net").ino);
  note(() => {
    fs.utimesSync(folder, 1_700_000_000.25, 1_700_000_001.5);
    const seen = fs.lstatSync(folder, { ...quiet, bigint: true });
    return [
      String(seen?.mtimeNs),
      seen?.ino === BigInt(fs.statSync(folder).ino),
      String(seen?.dev),
    ];
  });
  note(() => {
    fs.utimesSync(missing, 1, 1);
  });
  note(() => {
    fs.accessSync(`${folder}/`, fs.constants.W_OK | fs.constants.X_OK);
  });
  note(() => {
    fs.accessSync(`${file}/`, fs.constants.W_OK);
  });
  note(() => {
    fs.accessSync(missing, fs.constants.W_OK);
  });
  note(() => {
    fs.closeSync(fs.openSync("/dev/full", "w"));
    fs.writeFileSync("/dev/full", "x", { flag: "r+" });
  });

  return outcomes;

  /** A call's value, or its error. */
  function note(call: () => unknown): void {
    try {
      outcomes.push({ answer: call() ?? null });
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      outcomes.push({ code, message });
    }
  }
}
