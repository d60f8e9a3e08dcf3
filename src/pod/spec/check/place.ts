import type { Mistake, Path } from '../path.ts';

/** A place of an object that is checked. What is found wrong is added to one list. */
export interface Place {
  at(...keys: Path): Place;
  /** Notes what is wrong here; nothing if there is nothing to say. */
  wrong(text: string | undefined): void;
}

export function placeOf(path: Path, mistakes: Mistake[]): Place {
  return {
    at: (...keys) => placeOf([...path, ...keys], mistakes),
    wrong(text) {
      if (text !== undefined) mistakes.push({ path, text });
    },
  };
}

/** Each item of a list with its place. */
export function* eachAt<T>(items: readonly T[] | undefined, place: Place): Generator<readonly [T, Place]> {
  for (const [index, item] of (items ?? []).entries()) yield [item, place.at(index)];
}

/** Notes what is there for a second time. */
export function noneTwice(keys: Iterable<readonly [string, Place]>): void {
  const known = new Set<string>();
  for (const [key, place] of keys) {
    if (key === '') continue;
    if (known.has(key)) place.wrong(`is ${key} twice`);
    known.add(key);
  }
}
