import { describe, expect, it } from "vitest";

import { formatAddress } from "../../../../shared/net/address.ts";
import { readBoundSockets } from "../../../../shared/node/port_in_use.ts";

/** /proc/net/tcp of a kernel without inet_diag. */
const tcp = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 36211 1 0000000000000000 100 0 0 10 0
   1: 00000000:1F91 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 36212 1 0000000000000000 100 0 0 10 0
   2: 0200000A:1F90 0100000A:0050 01 00000000:00000000 00:00000000 00000000     0        0 36213 1 0000000000000000 20 4 30 10 -1
`;

const udp6 = `  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
 1180: 00000000000000000000000000000000:1F75 00000000000000000000000000000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 40001 2 0000000000000000 0
 1181: B80D0120000000000000000001000000:1F75 00000000000000000000000000000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 40002 2 0000000000000000 0
 1182: B80D0120000000000000000001000000:1F75 B80D0120000000000000000002000000:0035 01 00000000:00000000 00:00000000 00000000     0        0 40003 2 0000000000000000 0
`;

const read = (table: string, port: number) =>
  readBoundSockets(table, port).map(({ address, inode }) => [formatAddress(address), inode]);

describe("a table of /proc/net", () => {
  it("lists the sockets that wait for packets to a port", () => {
    expect(read(tcp, 8080)).toEqual([["127.0.0.1", 36_211]]);
    expect(read(tcp, 8081)).toEqual([["0.0.0.0", 36_212]]);
    expect(read(tcp, 8082)).toEqual([]);
    expect(read(udp6, 8053)).toEqual([
      ["::", 40_001],
      ["2001:db8::1", 40_002],
    ]);
  });

  it("may be missing", () => {
    expect(read("", 8080)).toEqual([]);
  });
});
