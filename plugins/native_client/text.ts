// Texts in memory: bytes and a NUL (AssemblyScript, see client.ts).

/** Writes an ASCII text and a NUL. @returns where. */
export function textAt(text: string, at: usize): usize {
  for (let index = 0; index < text.length; index++) store<u8>(at + index, text.charCodeAt(index));
  store<u8>(at + text.length, 0);
  return at;
}

export function lengthOf(at: usize): i32 {
  let length = 0;
  while (load<u8>(at + length) != 0) length++;
  return length;
}

export function startsWith(at: usize, text: string): bool {
  for (let index = 0; index < text.length; index++) {
    if (load<u8>(at + index) != text.charCodeAt(index)) return false;
  }
  return true;
}

export function isText(at: usize, text: string): bool {
  return startsWith(at, text) && load<u8>(at + text.length) == 0;
}
