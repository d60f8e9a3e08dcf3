import { execLine, execPieces } from '../../systemd/escape.ts';

/** Command lines of a container: the package's, or what the pod puts in the place of its words. */

/** A word of a pod: `$(NAME)` is the name of a variable, which systemd puts in as the unit starts. */
export type Piece = string | { readonly variable: string };

export interface Words {
  /** Absolute; stands for the first word. */
  readonly program?: string;
  /** Stand for the rest; undefined if that stays. */
  readonly args?: readonly (readonly Piece[])[];
}

/** A command line as systemd reads it: prefixes, the first word, and all after that. */
interface Line {
  readonly prefix: string;
  readonly program: string;
  /** Begins with white space, or is empty. */
  readonly rest: string;
}

/** Quotes are the line's own, and may go around a prefix. */
function split(line: string): Line {
  const quote = /^["']/.exec(line)?.[0] ?? '';
  const end = quote === '' ? line.search(/[ \t]|$/) : line.indexOf(quote, 1);
  const word = line.slice(quote.length, end === -1 ? undefined : end);
  const prefix = /^[-@:+!|]*/.exec(word)?.[0] ?? '';
  return {
    prefix,
    program: word.slice(prefix.length),
    rest: end === -1 ? '' : line.slice(end + quote.length),
  };
}

/**
 * The line of a package as it may stand in the unit of a container: `+`, which would leave the sandbox, is `!`, which is root in
 * it; `-`, which would hide the exit code, is none.
 */
function tamed(line: string, without: RegExp): string {
  const { prefix, program, rest } = split(line);
  const quoted = /[ \t]/.test(program) ? `"${program}"` : program;
  const mark = prefix.replaceAll(without, '').replace('+', prefix.includes('!') ? '' : '!');
  return quoted.startsWith('"') ? `"${mark}${program}"${rest}` : `${mark}${program}${rest}`;
}

/** Lines of `ExecStartPre=` and its like. */
export const sideLine = (line: string): string => tamed(line, /[|]/g);

/**
 * The lines of `ExecStart=`. `program` replaces the first word of the package's, `args` all after it; options stay unless there
 * are args.
 *
 * @param lines the package's; empty if it has none, and then there has to be a program
 */
export function startLines(lines: readonly string[], { program, args }: Words): string[] {
  if (program === undefined && args === undefined) return lines.map(line => tamed(line, /[-|]/g));
  const [first = ''] = lines;
  const own = split(first);
  // With an argv[0] of its own: that goes with the program, and where the program stays it stays.
  const isNamed = own.prefix.includes('@');
  const second = isNamed ? split(own.rest.trimStart()) : undefined;
  const kept = second ? second.rest : own.rest;
  const prefix = own.prefix.replaceAll(/[-|]/g, '').replace('+', '!');
  const path =
    program === undefined
      ? `${prefix.replace(':', '')}${own.program}${second ? ` ${second.program}` : ''}`
      : `${prefix.replaceAll(args === undefined ? /@/g : /[@:]/g, '')}${execLine([program])}`;
  if (args === undefined) return [`${path}${kept}`];
  return [[path, ...args.map(execPieces)].join(' ')];
}

/** The same line with another program before it, which becomes the one of the line: that has its own name then. */
export function wrapLine(words: readonly string[], line: string): string {
  const { prefix, program, rest } = split(line);
  const isNamed = prefix.includes('@');
  const after = isNamed ? split(rest.trimStart()).rest : rest;
  return `${prefix.replaceAll(/[@!]/g, '')}${execLine(words)} ${/[ \t]/.test(program) ? `"${program}"` : program}${after}`;
}
