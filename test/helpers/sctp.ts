/** SCTP packets made by hand (RFC 9260), for kernels that forward SCTP but have no sockets for it. */

/** A whole packet with an INIT chunk, without the IP header. */
export function initChunk(sourcePort: number, destinationPort: number): Uint8Array {
  const packet = Buffer.alloc(32);
  packet.writeUInt16BE(sourcePort, 0);
  packet.writeUInt16BE(destinationPort, 2);
  const INIT = 1;
  packet.writeUInt8(INIT, 12);
  packet.writeUInt16BE(20, 14);
  // Initiate tag, window, outbound and inbound streams, initial sequence number.
  packet.writeUInt32BE(0x12345678, 16);
  packet.writeUInt32BE(65_536, 20);
  packet.writeUInt16BE(1, 24);
  packet.writeUInt16BE(1, 26);
  packet.writeUInt32BE(1, 28);
  packet.writeUInt32LE(crc32c(packet), 8);
  return packet;
}

function crc32c(data: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of data) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ ((crc & 1) === 1 ? 0x82f63b78 : 0);
  }
  return (crc ^ 0xffffffff) >>> 0;
}
