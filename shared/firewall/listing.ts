/** How many listings a parser keeps: of two backends, two families and a few tables. */
const listingsMax = 8;

/**
 * A parser that keeps its last listings: questions about thousands of owners come with the same few
 * listings in turn.
 */
export function parsedOnce<T>(parse: (listing: string) => T): (listing: string) => T {
  const known: { readonly listing: string; readonly value: T }[] = [];
  return (listing) => {
    const found = known.find((entry) => entry.listing === listing);
    if (found !== undefined) return found.value;
    const value = parse(listing);
    known.push({ listing, value });
    if (known.length > listingsMax) known.shift();
    return value;
  };
}

/** The lines of a listing. */
export const linesIn = parsedOnce((listing): ReadonlySet<string> => new Set(listing.split("\n")));
