/** The folders of the tools, for a caller that sets no PATH. */
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** The PATH to look for commands in: the caller's, and the usual folders. */
export function commandPath(path: string | undefined): string {
  return path === undefined || path === "" ? defaultPath : path;
}

/** The folders of {@link commandPath}, in order. */
export function commandFolders(path: string | undefined): string[] {
  return commandPath(path).split(":");
}
