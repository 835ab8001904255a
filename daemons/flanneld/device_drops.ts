import type { LabelledValue } from "../../shared/daemon/metrics.ts";
import { readIfPresent } from "../../shared/files/read_file.ts";

/** Columns of /proc/net/dev after the device's name. */
const [receivedDrops, sentDrops] = [3, 11];

/**
 * How many packets devices have dropped, of those received and of those to be sent.
 * @param table the text of /proc/net/dev.
 */
export function deviceDrops(
  devices: readonly string[],
  table: string = readIfPresent("/proc/net/dev") ?? "",
): LabelledValue[] {
  return table.split("\n").flatMap((line) => {
    const [device = "", numbers = ""] = line.trim().split(/: */);
    if (!devices.includes(device)) return [];
    const columns = numbers.split(/ +/);
    return [
      { labels: { device, direction: "receive" }, value: Number(columns[receivedDrops]) },
      { labels: { device, direction: "transmit" }, value: Number(columns[sentDrops]) },
    ];
  });
}
