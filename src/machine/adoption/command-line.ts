import { quotedWords, type Unescape } from '../nspawn-words.ts';
import { type NspawnOption, optionOf } from '../options.ts';

/** `ExecStart=systemd-nspawn …` of a unit by hand, read as systemd and getopt_long(3) read it. */

export interface GivenOption {
  readonly option: NspawnOption;
  /** `--bind=/srv`: as it was written, in one form. */
  readonly text: string;
  readonly value?: string;
}

export type GivenWord =
  | ({ readonly kind: 'option' } & GivenOption)
  /** Not an option of systemd-nspawn, or one without its argument. */
  | { readonly kind: 'unknown'; readonly text: string };

export interface NspawnCommand {
  readonly words: readonly GivenWord[];
  /** The command to run, or arguments of the init. */
  readonly rest: readonly string[];
}

const escapes: Readonly<Record<string, string>> = {
  a: '\x07',
  b: '\b',
  f: '\f',
  n: '\n',
  r: '\r',
  t: '\t',
  v: '\v',
  s: ' ',
  '\\': '\\',
  '"': '"',
  "'": "'",
};

/** `%i` of a template, `%%`; undefined for what is only known while the unit runs. */
function withoutSpecifiers(word: string, instance: string): string | undefined {
  if (/%[^%iI]|%$/.test(word.replaceAll('%%', ''))) return undefined;
  return word.replaceAll(/%[%iI]/g, text => (text === '%%' ? '%' : instance));
}

/** `$$`; undefined for a word with a variable. */
function withoutVariables(word: string): string | undefined {
  if (/\$[^$]|\$$/.test(word.replaceAll('$$', ''))) return undefined;
  return word.replaceAll('$$', '$');
}

/** systemd.syntax(7), "Supported escapes". */
const unescape: Unescape = behind => {
  const escape = /^(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|([0-7]{3})|(.))/su.exec(behind);
  const [all = '', hex, unicode, octal, letter = ''] = escape ?? [];
  const code = hex ?? unicode;
  const text =
    code === undefined
      ? octal === undefined
        ? escapes[letter]
        : String.fromCharCode(Number.parseInt(octal, 8))
      : String.fromCharCode(Number.parseInt(code, 16));
  return text === undefined ? undefined : { text, length: all.length };
};

/** The words of a command line, systemd.service(5); undefined if a quote is open, an escape is none, or a word is not fixed. */
export function commandWords(line: string, instance: string): string[] | undefined {
  const fixed = quotedWords(line, unescape)?.map(each => {
    const text = withoutSpecifiers(each, instance);
    return text === undefined ? undefined : withoutVariables(text);
  });
  return fixed?.every(each => each !== undefined) ? fixed : undefined;
}

/** One letter and what is behind it in its word. */
function shortOption(
  letters: string,
  next: string | undefined,
): { word: GivenWord; took: boolean; left: string } {
  const flag = `-${letters[0] ?? ''}`;
  const behind = letters.slice(1);
  const option = optionOf(flag);
  if (!option) return { word: { kind: 'unknown', text: flag }, took: false, left: behind };
  if (option.argument !== 'needed')
    return { word: { kind: 'option', option, text: flag }, took: false, left: behind };
  const value = behind === '' ? next : behind;
  if (value === undefined) return { word: { kind: 'unknown', text: flag }, took: false, left: '' };
  return {
    word: { kind: 'option', option, text: `${flag} ${value}`, value },
    took: behind === '',
    left: '',
  };
}

function longOption(word: string, next: string | undefined): { word: GivenWord; took: boolean } {
  const equals = word.indexOf('=');
  const flag = equals < 0 ? word : word.slice(0, equals);
  const given = equals < 0 ? undefined : word.slice(equals + 1);
  const option = optionOf(flag);
  const took = option?.argument === 'needed' && given === undefined;
  const value = took ? next : given;
  if (!option || (took && value === undefined) || (option.argument === 'none' && given !== undefined))
    return { word: { kind: 'unknown', text: word }, took: false };
  const text = value === undefined ? flag : `${flag}=${value}`;
  return { word: { kind: 'option', option, text, ...(value !== undefined && { value }) }, took };
}

/** The options of a command; undefined if it is not systemd-nspawn. */
export function nspawnCommand(words: readonly string[]): NspawnCommand | undefined {
  const [program = '', ...queue] = words;
  if (program.replace(/^[-+!:]+/, '').replace(/^.*\//, '') !== 'systemd-nspawn') return undefined;
  const found: GivenWord[] = [];
  while (queue[0]?.startsWith('-') && queue[0] !== '-') {
    const word = queue.shift() ?? '';
    if (word === '--') break;
    if (word.startsWith('--')) {
      const long = longOption(word, queue[0]);
      found.push(long.word);
      if (long.took) queue.shift();
      continue;
    }
    for (let letters = word.slice(1); letters !== ''; ) {
      const short = shortOption(letters, queue[0]);
      found.push(short.word);
      if (short.took) queue.shift();
      letters = short.left;
    }
  }
  return { words: found, rest: queue };
}
