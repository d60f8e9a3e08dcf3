import { SpawnletError } from '../host/error.ts';

/**
 * The text of a unit file as a value: `systemd.syntax(7)`, read as systemd's own parser reads it. A line ends at `\n`,
 * `\r` or NUL; a backslash at its end continues it, past comments and blank lines; values are trimmed.
 */

/** A line that assigns nothing: a comment, a blank line, or one that systemd would warn about and ignore. */
export interface OtherLine {
  readonly kind: 'other';
  readonly text: string;
}

export interface Assignment {
  readonly kind: 'assignment';
  readonly key: string;
  /** As systemd sees it before it takes quotes and specifiers apart: one line, trimmed, continuations joined. */
  readonly value: string;
  /** How it is written, where that is not `key=value`: white space, continuations and the comments in them. */
  readonly source?: string;
}

export type UnitLine = Assignment | OtherLine;

export interface Section {
  readonly name: string;
  readonly lines: readonly UnitLine[];
  /** How the heading is written, where that is not `[name]`. */
  readonly source?: string;
}

export interface UnitFile {
  /** What stands before the first section. */
  readonly head: readonly UnitLine[];
  /** In order; a name may come more than once. */
  readonly sections: readonly Section[];
}

/** Bytes of one line, its continuations included: systemd refuses the whole unit if one is longer. */
export const maxLine = 1024 * 1024 - 1;

const keyPattern = /^[A-Za-z][A-Za-z0-9_.-]*$/;
const sectionPattern = /^[^\p{Cc}[\]]+$/u;
const trim = (text: string) => text.replaceAll(/^[ \t]+|[ \t]+$/g, '');

/** A section of assignments, in order. */
export function section(
  name: string,
  assignments: readonly (readonly [key: string, value: string])[],
): Section {
  return { name, lines: assignments.map(([key, value]) => ({ kind: 'assignment', key, value })) };
}

/** A unit file of sections, with a comment of one or more lines above them. */
export function unitFile(comment: string, sections: readonly Section[]): UnitFile {
  const head = comment.split('\n').map((line): UnitLine => ({ kind: 'other', text: `# ${line}` }));
  return { head: comment === '' ? [] : head, sections };
}

/** All values that a key is given in the sections of that name, in order, the empty ones that reset a list included. */
export function valuesOf(unit: UnitFile, sectionName: string, key: string): string[] {
  return unit.sections
    .filter(({ name }) => name === sectionName)
    .flatMap(({ lines }) =>
      lines.flatMap(line => (line.kind === 'assignment' && line.key === key ? line.value : [])),
    );
}

/** True if the text ends in a backslash that is not itself escaped. */
function continues(text: string): boolean {
  const slashes = /\\+$/.exec(text)?.[0].length ?? 0;
  return slashes % 2 === 1;
}

/** systemd skips comments and blank lines before it looks for a continuation. */
const skipped = (text: string) => /^[ \t]*([#;]|$)/.test(text);

interface Logical {
  readonly joined: string;
  readonly source: string;
}

function logicalLines(text: string): Logical[] {
  // systemd drops a byte order mark before a line.
  const physical = text.split(/\r\n|[\n\r\0]/).map(line => line.replace(/^\ufeff+/, ''));
  if (physical.at(-1) === '') physical.pop();
  const lines: Logical[] = [];
  let begun: { joined: string; source: string[] } | undefined;
  for (const line of physical) {
    if (!begun && skipped(line)) {
      lines.push({ joined: line, source: line });
      continue;
    }
    begun ??= { joined: '', source: [] };
    begun.source.push(line);
    if (skipped(line)) continue;
    begun.joined += line;
    if (continues(begun.joined)) {
      begun.joined = `${begun.joined.slice(0, -1)} `;
      continue;
    }
    lines.push({ joined: begun.joined, source: begun.source.join('\n') });
    begun = undefined;
  }
  // A backslash at the end of the file continues nothing; written back it would swallow what is added after it.
  if (begun) lines.push({ joined: begun.joined, source: begun.joined });
  return lines;
}

function lineOf({ joined, source }: Logical): UnitLine {
  const equals = joined.indexOf('=');
  const key = trim(joined.slice(0, Math.max(equals, 0)));
  if (skipped(joined) || !keyPattern.test(key)) return { kind: 'other', text: source };
  const value = trim(joined.slice(equals + 1));
  return source === `${key}=${value}`
    ? { kind: 'assignment', key, value }
    : { kind: 'assignment', key, value, source };
}

/** The section that a line begins. */
function headingOf({ joined }: Logical): string | undefined {
  const name = /^\[(.*)\]$/s.exec(trim(joined))?.[1];
  return name !== undefined && sectionPattern.test(name) && name === trim(name) ? name : undefined;
}

/** Reads the text of a unit file. Any text is one; what systemd would ignore is kept as it is. */
export function parseUnit(text: string): UnitFile {
  const head: UnitLine[] = [];
  const sections: { name: string; lines: UnitLine[]; source?: string }[] = [];
  for (const logical of logicalLines(text)) {
    const heading = headingOf(logical);
    if (heading !== undefined) {
      const plain = logical.source === `[${heading}]`;
      sections.push({ name: heading, lines: [], ...(!plain && { source: logical.source }) });
    } else (sections.at(-1)?.lines ?? head).push(lineOf(logical));
  }
  return { head, sections };
}

/** The logical line that `source` is on its own, whatever follows it. */
function single(source: string): Logical | undefined {
  const [line, next, ...more] = logicalLines(`${source}\n[]`);
  return line?.source === source && next?.joined === '[]' && more.length === 0 ? line : undefined;
}

/** Loaded only for lines that are written in a way of their own. */
const isSame = (a: UnitLine, b: UnitLine) => process.getBuiltinModule('node:util').isDeepStrictEqual(a, b);

function refuse(where: string, why: string): never {
  throw new SpawnletError('ERR_UNIT_TEXT', `${where} ${why}`, {
    hint: 'a unit file holds one assignment in one line',
  });
}

function renderLine(line: UnitLine): string {
  if (line.kind === 'other') {
    const back = single(line.text);
    if (!back || !line.text.isWellFormed()) refuse('a comment', 'is more than a line');
    if (lineOf(back).kind !== 'other' || headingOf(back) !== undefined)
      refuse('a comment', 'would be read as a setting');
    return line.text;
  }
  const { key, value, source } = line;
  if (!keyPattern.test(key)) refuse(JSON.stringify(key), 'is not the name of a setting');
  if (/[\n\r\0]/.test(value)) refuse(`${key}=`, 'has a value of more than one line');
  if (value !== trim(value)) refuse(`${key}=`, 'has a value that begins or ends with white space');
  if (source === undefined && continues(value)) refuse(`${key}=`, 'has a value that ends with a backslash');
  if (!value.isWellFormed()) refuse(`${key}=`, 'has a value that is not Unicode');
  const text = source ?? `${key}=${value}`;
  if (Buffer.byteLength(text) > maxLine) refuse(`${key}=`, `is longer than ${maxLine} bytes`);
  if (source === undefined) return text;
  const back = single(source);
  if (!back || !isSame(lineOf(back), line)) refuse(`${key}=`, 'is written as something else');
  return text;
}

function renderSection({ name, lines, source }: Section): string[] {
  if (!sectionPattern.test(name) || name !== trim(name))
    refuse(JSON.stringify(name), 'is not the name of a section');
  const heading = source ?? `[${name}]`;
  const back = single(heading);
  if (!back || headingOf(back) !== name) refuse(`[${name}]`, 'is written as something else');
  return [heading, ...lines.map(renderLine)];
}

/**
 * The text of a unit file, ending in a newline. `parseUnit` gives the same value back; a value for which it would not,
 * such as one that holds a newline, is refused with `ERR_UNIT_TEXT`.
 */
export function renderUnit(unit: UnitFile): string {
  const lines = [...unit.head.map(renderLine), ...unit.sections.flatMap(renderSection)];
  return lines.map(line => `${line}\n`).join('');
}
