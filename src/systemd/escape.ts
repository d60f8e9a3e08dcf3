import { posix } from 'node:path';
import { SpawnletError } from '../host/error.ts';
import { maxLine } from './unit-file.ts';

/**
 * Values of unit files, escaped so that systemd (252 to 257) reads back what was meant: `systemd.syntax(7)`,
 * `systemd.service(5)` "Command lines", `systemd.unit(5)` "Specifiers". What a setting cannot hold is refused with
 * `ERR_UNIT_VALUE`, never changed.
 */

/** Bytes of one argument or environment entry, without its NUL: MAX_ARG_STRLEN of execve(2) with 4 KiB pages. */
export const maxArgument = 128 * 1024 - 1;

/** Bytes of a path, without its NUL. */
export const maxPath = 4095;

/** Bytes of a unit's name. */
export const maxUnitName = 255;

function refuse(what: string, why: string, hint = 'change the value'): never {
  throw new SpawnletError('ERR_UNIT_VALUE', `${what} ${why}`, { hint });
}

/** Code points that are no characters. systemd takes them for broken UTF-8 and drops the whole line. */
const noncharacter = /\p{Noncharacter_Code_Point}/u;

/** What no setting can hold, whatever its escapes. */
export function checkText(what: string, text: string): void {
  if (text.includes('\0')) refuse(what, 'holds a NUL');
  if (!text.isWellFormed()) refuse(what, 'is not Unicode');
  if (noncharacter.test(text)) refuse(what, 'holds a code point that is no character');
}

/** A value as text: bytes that are not UTF-8 are refused with `ERR_UNIT_VALUE`. */
export function textOf(what: string, value: string | Uint8Array): string {
  if (typeof value === 'string') return value;
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(value);
  } catch {
    return refuse(what, 'is not UTF-8');
  }
}

const specifiers = (text: string) => text.replaceAll('%', '%%');

const short: Record<string, string> = { '\n': '\\n', '\t': '\\t', '\r': '\\r', '"': '\\"', '\\': '\\\\' };

/** A word for systemd's C-style unquoting: as it is where that is safe, else in double quotes. */
function quoted(text: string): string {
  if (/^[\w@%+=:,./$-]+$/.test(text)) return text;
  const inner = text.replaceAll(
    /[\u0001-\u001f\u007f"\\]/g,
    char => short[char] ?? `\\x${char.charCodeAt(0).toString(16).padStart(2, '0')}`,
  );
  return `"${inner}"`;
}

/** One argument of a command line, not the program. `$` and `%` stand for themselves, as does a `;` alone. */
export function execArgument(argument: string | Uint8Array): string {
  const text = textOf('an argument', argument);
  checkText('an argument', text);
  const size = Buffer.byteLength(text);
  if (size > maxArgument) refuse('an argument', `has ${size} bytes, the kernel takes ${maxArgument}`);
  return quoted(specifiers(text).replaceAll('$', '$$$$'));
}

/** One argument in pieces: text, which stands for itself, and variables of the unit, whose values are no part of its text. */
export function execPieces(pieces: readonly (string | { readonly variable: string })[]): string {
  const parts = pieces.map(piece => {
    if (typeof piece !== 'string') return `\${${checkVariable(piece.variable)}}`;
    checkText('an argument', piece);
    return specifiers(piece).replaceAll('$', '$$$$');
  });
  const word = parts.join('');
  const size = Buffer.byteLength(word);
  if (size > maxArgument) refuse('an argument', `has ${size} bytes, the kernel takes ${maxArgument}`);
  return quoted(word);
}

/**
 * Words of a command line that systemd is given as they are, by D-Bus or systemd-run: it puts the values of variables into
 * them all the same, and two dollars are one. Not the program's path.
 */
export const literally = (words: readonly string[]): string[] =>
  words.map(word => word.replaceAll('$', () => '$$'));

/** Prefixes of a command line that spawnlet uses: `-` ignores failure, `+` has full privileges. */
export type ExecPrefix = '' | '-' | '+' | '-+';

/**
 * A whole command line for `ExecStart=` and its like. The program is an absolute path; systemd takes none with quotes,
 * backslashes or control characters.
 */
export function execLine(argv: readonly (string | Uint8Array)[], prefix: ExecPrefix = ''): string {
  const [program = '', ...rest] = argv.map(argument => textOf('an argument', argument));
  checkText('the program', program);
  checkPath('the program', program);
  if (/[\u0001-\u001f\u007f"'\\]/.test(program) || program.endsWith('/'))
    refuse(`the program ${JSON.stringify(program)}`, 'is a path that systemd does not take');
  const path = quoted(specifiers(program));
  // Variables are replaced in argv[0], but not in the path: where that matters argv[0] is given apart.
  const first = program.includes('$') ? `@${path} ${execArgument(program)}` : path;
  const line = [specifierSafe(first, prefix), ...rest.map(execArgument)].join(' ');
  checkLine('a command line', line);
  return line;
}

/** Prefixes come before the path, inside its quotes if it has any. */
function specifierSafe(first: string, prefix: string): string {
  const mark = first.startsWith('@') ? `${prefix}@` : prefix;
  const path = first.startsWith('@') ? first.slice(1) : first;
  return path.startsWith('"') ? `"${mark}${path.slice(1)}` : `${mark}${path}`;
}

/** Room for the key before the value. */
const keyRoom = 64;

function checkLine(what: string, line: string): void {
  const size = Buffer.byteLength(line);
  if (size > maxLine - keyRoom)
    refuse(what, `has ${size} bytes when escaped, systemd reads lines of ${maxLine}`);
}

/** Names are `[A-Za-z_][A-Za-z0-9_]*`: systemd drops others. */
function checkVariable(name: string): string {
  if (!/^[A-Za-z_]\w*$/.test(name))
    refuse(`the variable ${JSON.stringify(name)}`, 'has a name that systemd does not take');
  return name;
}

/** The value of a variable as text. */
function variable(name: string, value: string | Uint8Array): string {
  checkVariable(name);
  const text = textOf(`the variable ${name}`, value);
  checkText(`the variable ${name}`, text);
  const size = Buffer.byteLength(text) + name.length + 1;
  if (size > maxArgument)
    refuse(`the variable ${name}`, `has ${size} bytes, the kernel takes ${maxArgument}`);
  return text;
}

/** One word of `Environment=`. `$` has no meaning there. */
export function environmentWord(name: string, value: string | Uint8Array): string {
  const word = quoted(specifiers(`${name}=${variable(name, value)}`));
  checkLine(`the variable ${name}`, word);
  return word;
}

/** The text of a file for `EnvironmentFile=`, which no unit shows and root alone need be able to read. */
export function environmentFile(variables: Readonly<Record<string, string>>): string {
  return Object.entries(variables)
    .map(([name, value]) => `${name}="${variable(name, value).replaceAll(/["\\`$]/g, '\\$&')}"\n`)
    .join('');
}

function checkPath(what: string, path: string): void {
  if (!path.startsWith('/')) refuse(`${what} ${JSON.stringify(path)}`, 'is not an absolute path');
  if (path.split('/').includes('..')) refuse(`${what} ${JSON.stringify(path)}`, 'holds ..');
  if (Buffer.byteLength(path) > maxPath) refuse(what, `is longer than ${maxPath} bytes`);
}

/** The whole value of a setting that takes a text: `SyslogIdentifier=`, `Slice=`. It has no quotes, so no line breaks. */
export function plainText(what: string, text: string): string {
  checkText(what, text);
  if (/[\n\r]/.test(text)) refuse(what, 'holds a line break');
  if (/^[ \t]|[ \t]$/.test(text)) refuse(what, 'begins or ends with white space');
  if ((/\\+$/.exec(text)?.[0].length ?? 0) % 2 === 1) refuse(what, 'ends with a backslash');
  const value = specifiers(text);
  checkLine(what, value);
  return value;
}

/** The whole value of a setting that takes one path: `WorkingDirectory=`, `RootDirectory=`, `PIDFile=`. */
export function plainPath(path: string): string {
  checkPath('the path', path);
  return plainText(`the path ${JSON.stringify(path)}`, path);
}

/** One path in a setting that takes several: `ReadWritePaths=`, `RequiresMountsFor=`, each side of `BindPaths=`. */
export function pathWord(path: string): string {
  checkText('the path', path);
  checkPath('the path', path);
  if (/[\n\r]/.test(path)) refuse(`the path ${JSON.stringify(path)}`, 'holds a line break');
  const text = specifiers(path);
  // Here a backslash stands for the character after it, whatever that is.
  return /^[\w@%+=,./-]+$/.test(text) ? text : `"${text.replaceAll(/["\\]/g, '\\$&')}"`;
}

/** One word of `BindPaths=` or `BindReadOnlyPaths=`. */
export function bindWord(source: string, target: string, options: 'rbind' | 'norbind' = 'rbind'): string {
  const mode = options === 'rbind' ? '' : ':norbind';
  return `${pathWord(source)}:${pathWord(target)}${mode}`;
}

/**
 * A `Description=` for people. Unlike the other escapes it changes what cannot stand there: line breaks and control
 * characters become spaces, what is too long is cut.
 */
export function description(text: string): string {
  const line = text
    .toWellFormed()
    .replaceAll(/\p{Noncharacter_Code_Point}/gu, '\ufffd')
    .replaceAll(/[\p{Cc}\s]+/gu, ' ')
    .trim();
  const cut = /^.{0,200}/u.exec(line)?.[0] ?? '';
  return specifiers(cut.replace(/[\\ ]+$/, ''));
}

/** Any JSON as one line that is safe in any section: for `[X-…]`, which systemd does not read. */
export function jsonText(value: unknown): string {
  return JSON.stringify(value).replaceAll(/[\u007f-\u009f\u2028\u2029]|\p{Noncharacter_Code_Point}/gu, char =>
    Array.from(
      { length: char.length },
      (_unit, at) => `\\u${char.charCodeAt(at).toString(16).padStart(4, '0')}`,
    ).join(''),
  );
}

const escapedByte = (byte: number) => `\\x${byte.toString(16).padStart(2, '0')}`;

/** Part of a unit's name from any text: what `systemd-escape` prints. */
export function escapeName(text: string): string {
  checkText('the name', text);
  let name = '';
  for (const [index, byte] of Buffer.from(text).entries()) {
    const char = String.fromCharCode(byte);
    if (char === '/') name += '-';
    else if (/[A-Za-z0-9:_]/.test(char) || (char === '.' && index > 0)) name += char;
    else name += escapedByte(byte);
  }
  return name;
}

/** A path as part of a unit's name: what `systemd-escape --path` prints. `/` is `-`. */
export function escapePath(path: string): string {
  checkPath('the path', path);
  const inner = posix.normalize(path).replaceAll(/^\/+|\/+$/g, '');
  return inner === '' ? '-' : escapeName(inner);
}

/** The text that {@link escapeName} was given, but for `-` that stood for `/`. */
export function unescapeName(name: string): string {
  const bytes = name
    .replaceAll('-', '/')
    .replaceAll(/\\x([0-9a-f]{2})/g, (_all, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
  return textOf('the name', Buffer.from(bytes, 'latin1'));
}

const unitName =
  /^[A-Za-z0-9:_.\\-][A-Za-z0-9:_.\\@-]*\.(service|socket|target|slice|scope|mount|automount|swap|timer|path|device)$/;

/** Refuses what is not the name of a unit with `ERR_UNIT_NAME`: a name is part of a path. */
export function checkUnitName(name: string): string {
  if (unitName.test(name) && name.length <= maxUnitName) return name;
  throw new SpawnletError('ERR_UNIT_NAME', `${JSON.stringify(name)} is not the name of a unit`, {
    hint: `letters, digits and :_.\\-@, a type such as .service, at most ${maxUnitName} bytes`,
  });
}
