/** Removes what does not go with its process: when this one has ended, in whatever way. */
import { spawn } from "node:child_process";

/**
 * It has a session of its own, so that Ctrl-C does not end it, and reads an input that ends with the tests.
 * Groups can be removed as soon as the kernel has ended all that was in them.
 */
const SCRIPT = `
trap '' INT TERM HUP
cat > /dev/null
for try in $(seq 300); do
  kill -0 "$1" 2> /dev/null || break
  sleep 0.1
done
for try in $(seq 300); do
  groups=$(find /sys/fs/cgroup -maxdepth 2 -name "$2")
  [ "$groups" ] || break
  find $groups -depth -type d -exec rmdir {} + 2> /dev/null
  sleep 0.1
done
rm -rf "$3"
`;

/**
 * Has cgroups and a folder removed when this process has ended.
 * @param groups a pattern of their names.
 */
export function sweepAtEnd(groups: string, folder: string): void {
  const sweeper = spawn("sh", ["-c", SCRIPT, "sweeper", String(process.pid), groups, folder], {
    detached: true,
    stdio: ["pipe", "ignore", "ignore"],
  });
  sweeper.unref();
}
