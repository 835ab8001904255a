/**
 * A 53-bit hash of strings. In practice different strings have different ones. Not for secrets:
 * whoever chooses the strings can find a collision.
 */
export function fingerprint(texts: readonly string[]): number {
  let [high, low] = [0x811c9dc5, 0x1b873593];
  for (const text of texts) {
    for (let at = 0; at < text.length; at++) {
      const code = text.charCodeAt(at);
      high = Math.imul(high ^ code, 0x01000193);
      low = Math.imul(low ^ code, 0x85ebca6b);
      low ^= low >>> 13;
    }
    // The boundaries count: ["a", "b"] is not ["ab", ""].
    high = Math.imul(high ^ 0x10001, 0x01000193);
    low = Math.imul(low ^ 0x10001, 0x85ebca6b);
  }
  return (high >>> 0) * 0x20_0000 + ((low >>> 0) & 0x1f_ffff);
}
