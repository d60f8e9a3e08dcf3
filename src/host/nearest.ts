/** The known name that is meant by one that is not known, if there is one that is close; letters' case does not count. */
export function nearest(name: string, known: readonly string[]): string | undefined {
  const most = Math.max(1, Math.floor(name.length / 4));
  let [best, least]: [string | undefined, number] = [undefined, most + 1];
  for (const each of known) {
    if (Math.abs(each.length - name.length) > most) continue;
    const distance = editsBetween(name.toLowerCase(), each.toLowerCase());
    if (distance < least) [best, least] = [each, distance];
  }
  return best;
}

/** How many letters have to be put in, taken out, exchanged, or swapped with the next one, to make one word of another. */
function editsBetween(one: string, other: string): number {
  let [before, row]: number[][] = [[], Array.from({ length: other.length + 1 }, (_, at) => at)];
  for (let i = 1; i <= one.length; i++) {
    const next = [i];
    for (let j = 1; j <= other.length; j++) {
      const same = one[i - 1] === other[j - 1];
      const at = (cells: readonly number[] | undefined, index: number) => cells?.[index] ?? Infinity;
      const isSwapped = i > 1 && j > 1 && one[i - 1] === other[j - 2] && one[i - 2] === other[j - 1];
      next.push(
        Math.min(
          at(row, j) + 1,
          at(next, j - 1) + 1,
          at(row, j - 1) + (same ? 0 : 1),
          isSwapped ? at(before, j - 2) + 1 : Infinity,
        ),
      );
    }
    [before, row] = [row, next];
  }
  return row?.[other.length] ?? Infinity;
}
