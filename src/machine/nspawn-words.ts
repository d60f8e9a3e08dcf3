import { SpawnletError } from '../host/error.ts';
import { checkText } from '../systemd/escape.ts';

/**
 * Values of `.nspawn` files, escaped and read as systemd-nspawn (252 to 257) does: systemd.nspawn(5). It knows no specifiers, and each
 * key has its own way of taking words apart. What a key cannot hold is refused with `ERR_UNIT_VALUE`, never changed.
 */

function refuse(what: string, why: string): never {
  throw new SpawnletError('ERR_UNIT_VALUE', `${what} ${why}`, { hint: 'change the value' });
}

/** A value that stands for itself up to the end of its line. */
export function plainValue(what: string, text: string): string {
  checkText(what, text);
  if (/[\n\r]/.test(text)) refuse(what, 'holds a line break');
  if (/^[ \t]|[ \t]$/.test(text)) refuse(what, 'begins or ends with white space');
  if ((/\\+$/.exec(text)?.[0].length ?? 0) % 2 === 1) refuse(what, 'ends with a backslash');
  return text;
}

/** The same, of a path: absolute, without `..`. */
export function plainPathValue(what: string, path: string): string {
  if (!path.startsWith('/') || path.split('/').includes('..'))
    refuse(`${what} ${JSON.stringify(path)}`, 'is not an absolute path');
  return plainValue(`${what} ${JSON.stringify(path)}`, path);
}

/** A path between colons: `Bind=`, `Overlay=`, the first of `TemporaryFileSystem=`. A backslash stands for what follows it. */
export function colonWord(what: string, path: string): string {
  if (!path.startsWith('/') || path.split('/').includes('..'))
    refuse(`${what} ${JSON.stringify(path)}`, 'is not an absolute path');
  return plainValue(`${what} ${JSON.stringify(path)}`, path.replaceAll(/[\\:]/g, '\\$&'));
}

/** The words between colons; undefined if a backslash is the last character. `most`: the last word is the rest as it is. */
export function colonWords(value: string, most = Number.POSITIVE_INFINITY): string[] | undefined {
  const words = [''];
  for (let at = 0; at < value.length; at++) {
    const char = value[at] ?? '';
    if (char === ':') {
      words.push('');
      if (words.length > most) return [...words.slice(0, -1), value.slice(at + 1)];
    } else if (char === '\\' && ++at === value.length) return undefined;
    else words[words.length - 1] += value[at] ?? '';
  }
  return words;
}

/**
 * A word of `Parameters=` and `Environment=`. Backslashes stand for themselves there, so that a word with both kinds of quotes is
 * made of pieces.
 */
export function quotedWord(what: string, text: string): string {
  checkText(what, text);
  if (/[\n\r]/.test(text)) refuse(what, 'holds a line break');
  if (/^[\w@%+=:,./-]+$/.test(text)) return text;
  if (!text.includes('"')) return `"${text}"`;
  return text.replaceAll(/[^"]+|"+/g, piece => (piece.startsWith('"') ? `'${piece}'` : `"${piece}"`));
}

/** What a backslash and what follows it stand for, and the characters that this takes; undefined if it is no escape. */
export type Unescape = (behind: string) => { readonly text: string; readonly length: number } | undefined;

/**
 * The words of `Parameters=` and `Environment=`, where a backslash is one like any character; of a command line with
 * `unescape`. Undefined if a quote has no end, or an escape is none.
 */
export function quotedWords(value: string, unescape?: Unescape): string[] | undefined {
  const words: string[] = [];
  let word: string | undefined;
  let quote: string | undefined;
  for (let at = 0; at < value.length; at++) {
    const char = value[at] ?? '';
    if (unescape && char === '\\') {
      const escape = unescape(value.slice(at + 1));
      if (!escape) return undefined;
      word = (word ?? '') + escape.text;
      at += escape.length;
    } else if (quote !== undefined) {
      if (char === quote) quote = undefined;
      else word = (word ?? '') + char;
    } else if (char === '"' || char === "'") {
      quote = char;
      word ??= '';
    } else if (/[ \t]/.test(char)) {
      if (word !== undefined) words.push(word);
      word = undefined;
    } else word = (word ?? '') + char;
  }
  if (quote !== undefined) return undefined;
  if (word !== undefined) words.push(word);
  return words;
}
