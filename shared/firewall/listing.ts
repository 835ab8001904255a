/**
 * A parser that keeps the last listing it was given: whoever asks about thousands of owners in a row
 * asks with the same one.
 */
export function parsedOnce<T>(parse: (listing: string) => T): (listing: string) => T {
  let last: { readonly listing: string; readonly value: T } | undefined;
  return (listing) => {
    if (last?.listing !== listing) last = { listing, value: parse(listing) };
    return last.value;
  };
}

/** The lines of a listing. */
export const linesIn = parsedOnce((listing): ReadonlySet<string> => new Set(listing.split("\n")));
