/** One way to log in that a server offers (RFC 9110, section 11.6.1). */
export interface Challenge {
  /** Lower case: `bearer`, `basic`. */
  readonly scheme: string;
  /** Names in lower case. */
  readonly parameters: ReadonlyMap<string, string>;
}

const scheme = /[!#$%&'*+\-.^_`|~0-9A-Za-z]+/y;
const parameter =
  /([!#$%&'*+\-.^_`|~0-9A-Za-z]+)[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([!#$%&'*+\-.^_`|~0-9A-Za-z]+))/sy;
/** What Negotiate and its like carry instead of parameters. */
const token68 = /[ \t]+[A-Za-z0-9\-._~+/]+=*(?=[ \t]*(?:,|$))/y;
const separators = /[ \t,]*/y;
const maxLength = 16 * 1024;

/**
 * Parses the values of `WWW-Authenticate`: several challenges in one value or in several, commas inside quotes.
 * What cannot be read ends its value; the challenges before it count.
 */
export function parseChallenges(values: readonly string[]): Challenge[] {
  return values.filter(value => value.length <= maxLength).flatMap(parseValue);
}

function parseValue(value: string): Challenge[] {
  const challenges: { scheme: string; parameters: Map<string, string> }[] = [];
  let at = 0;
  const take = (pattern: RegExp): RegExpExecArray | undefined => {
    pattern.lastIndex = at;
    const match = pattern.exec(value);
    if (match) at = pattern.lastIndex;
    return match ?? undefined;
  };
  for (;;) {
    take(separators);
    const current = challenges.at(-1);
    const found = take(parameter);
    if (found) {
      if (!current) return challenges;
      const name = (found[1] ?? '').toLowerCase();
      const text = found[3] ?? (found[2] ?? '').replaceAll(/\\(.)/gs, '$1');
      // The first wins: a second realm does not replace the one before it.
      if (!current.parameters.has(name)) current.parameters.set(name, text);
      continue;
    }
    const name = take(scheme)?.[0];
    if (name === undefined) return challenges;
    challenges.push({ scheme: name.toLowerCase(), parameters: new Map() });
    take(token68);
  }
}
