/**
 * A number of 53 bits that stands for texts: other texts have, as good as ever, another one. Not for
 * secrets: who chooses the texts can find two with one number.
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
    // Where one ends counts: ["a", "b"] is not ["ab", ""].
    high = Math.imul(high ^ 0x10001, 0x01000193);
    low = Math.imul(low ^ 0x10001, 0x85ebca6b);
  }
  return (high >>> 0) * 0x20_0000 + ((low >>> 0) & 0x1f_ffff);
}
