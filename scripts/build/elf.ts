/** ELF files of 64 bits (elf(5)): where they are loaded, and another beginning for one that is complete. */

const PT_LOAD = 1;
const PT_NOTE = 4;
const PT_PHDR = 6;
const ET_EXEC = 2;
const PF_READ_EXECUTE = 5;
const headerBytes = 56;
/** The largest page of any kernel: a segment is as far from a page's start in the file as in memory. */
const page = 65_536n;

interface Segment {
  /** Where its program header is in the file. */
  readonly header: number;
  readonly type: number;
  readonly offset: bigint;
  readonly address: bigint;
  readonly bytes: bigint;
  readonly memory: bigint;
}

function segmentsOf(file: Buffer): Segment[] {
  const first = Number(file.readBigUInt64LE(32));
  return Array.from({ length: file.readUInt16LE(56) }, (_, index) => {
    const header = first + index * headerBytes;
    return {
      header,
      type: file.readUInt32LE(header),
      offset: file.readBigUInt64LE(header + 8),
      address: file.readBigUInt64LE(header + 16),
      bytes: file.readBigUInt64LE(header + 32),
      memory: file.readBigUInt64LE(header + 40),
    };
  });
}

/** The address of a file's first instruction. */
export function entryOf(file: Buffer): bigint {
  return file.readBigUInt64LE(24);
}

/** The first address behind all that a file is loaded to, where one more segment may be. */
export function freeAddress(file: Buffer): bigint {
  const ends = segmentsOf(file)
    .filter(({ type }) => type === PT_LOAD)
    .map(({ address, memory }) => address + memory);
  const end = ends.reduce((most, address) => (address > most ? address : most), 0n);
  return ((end + page - 1n) / page) * page;
}

/** Bytes of notes for tools. Longer ones are the program's own: Node's are the script. */
const mostNotes = 4096n;

/**
 * A program header that no loader needs: that of the notes, or, in a file for fixed addresses, that of the headers
 * themselves.
 */
function spareSegment(file: Buffer): Segment | undefined {
  const segments = segmentsOf(file);
  const notes = segments.find(({ type, bytes }) => type === PT_NOTE && bytes <= mostNotes);
  const isFixed = file.readUInt16LE(16) === ET_EXEC;
  return notes ?? (isFixed ? segments.find(({ type }) => type === PT_PHDR) : undefined);
}

/** Whether {@link withBeginning} can change an executable. */
export function takesBeginning(executable: Buffer): boolean {
  return spareSegment(executable) !== undefined;
}

/**
 * Gives an executable another first instruction, that of a program for its {@link freeAddress}. The
 * program has one segment, without variables. Its header takes the room of one that no loader needs: to move
 * the list, so that it could be longer, is what old kernels do not bear. It comes behind the others that are
 * loaded, which are in the order of their addresses.
 * @throws Error for what is no such program, or has no such header.
 */
export function withBeginning(executable: Buffer, program: Buffer): Buffer {
  const loaded = segmentsOf(program).filter(({ type }) => type === PT_LOAD);
  const [segment] = loaded;
  const address = freeAddress(executable);
  if (
    segment === undefined ||
    loaded.length > 1 ||
    segment.address !== address ||
    segment.bytes !== segment.memory
  ) {
    throw new Error("The native client must be one segment without variables.");
  }
  const spare = spareSegment(executable);
  if (spare === undefined) throw new Error("The executable has no place for the native client.");
  const offset = ((BigInt(executable.length) + page - 1n) / page) * page;
  const code = program.subarray(Number(segment.offset), Number(segment.offset + segment.bytes));
  const file = Buffer.alloc(Number(offset) + code.length);
  executable.copy(file);
  code.copy(file, Number(offset));
  const header = Buffer.alloc(headerBytes);
  header.writeUInt32LE(PT_LOAD, 0);
  header.writeUInt32LE(PF_READ_EXECUTE, 4);
  const values = [offset, address, address, segment.bytes, segment.bytes, page];
  for (const [index, value] of values.entries()) header.writeBigUInt64LE(value, 8 + 8 * index);
  const segments = segmentsOf(executable);
  const last = segments.findLastIndex(({ type }) => type === PT_LOAD);
  const headers = segments.flatMap(({ header: at }, index) => [
    ...(at === spare.header ? [] : [executable.subarray(at, at + headerBytes)]),
    ...(index === last ? [header] : []),
  ]);
  Buffer.concat(headers).copy(file, segments[0]?.header);
  file.writeBigUInt64LE(entryOf(program), 24);
  return file;
}
