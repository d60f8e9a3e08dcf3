import type { Entry, Kind } from './entry.ts';
import { blockSize } from './header.ts';
import { renderRecord } from './pax.ts';

const flags: Readonly<Record<Kind, string>> = {
  file: '0',
  link: '1',
  symlink: '2',
  char: '3',
  block: '4',
  directory: '5',
  fifo: '6',
};

/** What a ustar field holds. */
const nameSize = 100;
const idMax = 0o7777777;
const bigMax = 0o77777777777;

/** Whether {@link writeHeader} says all of the entry, or {@link extraHeaders} has to say more before it. */
export function fitsHeader(entry: Entry): boolean {
  return (
    entry.path.length < nameSize &&
    entry.target.length <= nameSize &&
    entry.xattrs.length === 0 &&
    entry.nanoseconds === 0 &&
    entry.uid <= idMax &&
    entry.gid <= idMax &&
    entry.size <= bigMax &&
    entry.mtime <= bigMax
  );
}

/** Writes the entry's header block at `at`. What does not fit is cut: {@link extraHeaders} says it whole. */
export function writeHeader(entry: Entry, block: Buffer, at: number): void {
  block.fill(0, at, at + blockSize);
  block.write(nameOf(entry), at, nameSize, 'latin1');
  octal(block, at + 100, 7, entry.mode);
  octal(block, at + 108, 7, Math.min(entry.uid, idMax));
  octal(block, at + 116, 7, Math.min(entry.gid, idMax));
  octal(block, at + 124, 11, Math.min(entry.size, bigMax));
  octal(block, at + 136, 11, Math.min(entry.mtime, bigMax));
  block[at + 156] = flags[entry.kind].charCodeAt(0);
  block.write(entry.target, at + 157, nameSize, 'latin1');
  octal(block, at + 329, 7, entry.major);
  octal(block, at + 337, 7, entry.minor);
  seal(block, at);
}

/**
 * Special headers that go before the entry's own: GNU long names, which are bytes as they are (a PAX path is
 * converted to the locale's character set), and a PAX header for numbers and attributes.
 */
export function extraHeaders(entry: Entry): Buffer {
  const parts: Buffer[] = [];
  const name = nameOf(entry);
  if (entry.target.length > nameSize) parts.push(special('K', `${entry.target}\0`));
  if (name.length > nameSize) parts.push(special('L', `${name}\0`));
  let records = '';
  if (entry.uid > idMax) records += renderRecord('uid', String(entry.uid));
  if (entry.gid > idMax) records += renderRecord('gid', String(entry.gid));
  if (entry.size > bigMax) records += renderRecord('size', String(entry.size));
  if (entry.nanoseconds > 0 || entry.mtime > bigMax)
    records += renderRecord('mtime', `${entry.mtime}.${String(entry.nanoseconds).padStart(9, '0')}`);
  // GNU tar reads %3D and %25 in an attribute's name, so that it may hold an equals sign.
  for (const { name, value } of entry.xattrs)
    records += renderRecord(`SCHILY.xattr.${name.replaceAll('%', '%25').replaceAll('=', '%3D')}`, value);
  if (records !== '') parts.push(special('x', records));
  return parts.length === 1 && parts[0] ? parts[0] : Buffer.concat(parts);
}

/** Two blocks of zeros. */
export const endOfArchive = Buffer.alloc(2 * blockSize);

/** A directory's name ends in a slash, so that no reader takes it for a file; the root is `./`. */
function nameOf(entry: Entry): string {
  if (entry.kind !== 'directory') return entry.path;
  return entry.path === '' ? './' : `${entry.path}/`;
}

function special(flag: string, data: string): Buffer {
  const blocks = Math.ceil(data.length / blockSize);
  const buffer = Buffer.alloc((1 + blocks) * blockSize);
  buffer.write('././@LongLink', 0, nameSize, 'latin1');
  octal(buffer, 100, 7, 0o644);
  octal(buffer, 108, 7, 0);
  octal(buffer, 116, 7, 0);
  octal(buffer, 124, 11, data.length);
  octal(buffer, 136, 11, 0);
  buffer[156] = flag.charCodeAt(0);
  seal(buffer, 0);
  buffer.write(data, blockSize, 'latin1');
  return buffer;
}

function seal(block: Buffer, at: number): void {
  block.write('ustar\x0000', at + 257, 8, 'latin1');
  let sum = 8 * 0x20;
  for (let i = at; i < at + 345; i++) sum += block[i] ?? 0;
  octal(block, at + 148, 6, sum);
  block[at + 154] = 0;
  block[at + 155] = 0x20;
}

function octal(block: Buffer, at: number, digits: number, value: number): void {
  let rest = value;
  for (let i = at + digits - 1; i >= at; i--) {
    block[i] = 0x30 + (rest % 8);
    rest = Math.floor(rest / 8);
  }
}
