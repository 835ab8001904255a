/** Where the tools are, for a caller that sets no PATH. */
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** Where to look for commands, given the caller's PATH. */
export function commandPath(path: string | undefined): string {
  return path === undefined || path === "" ? defaultPath : path;
}

/** The folders of {@link commandPath}, in order. */
export function commandFolders(path: string | undefined): string[] {
  return commandPath(path).split(":");
}
