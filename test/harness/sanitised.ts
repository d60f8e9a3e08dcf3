import assert from 'node:assert/strict';
import { SpawnletError } from '../../src/host/error.ts';
import { defaultLimits, type Entry, type Limits } from '../../src/image/layer/entry.ts';
import { isZero, parseHeader } from '../../src/image/layer/header.ts';
import { parseMember } from '../../src/image/layer/member.ts';
import type { Piece } from '../../src/image/layer/output.ts';
import { parseRecords, type Records } from '../../src/image/layer/pax.ts';
import { Sanitiser } from '../../src/image/layer/sanitiser.ts';
import { archive } from './hostile-tar.ts';

export interface Result {
  readonly bytes: Buffer;
  readonly opaque: readonly string[];
  readonly lower: readonly string[];
  readonly cuts: number;
}

/** Runs an archive through, in chunks of this size, never changing the caller's bytes. */
export function sanitise(tar: Buffer, chunk = tar.length, limits: Limits = defaultLimits): Result {
  const sanitiser = new Sanitiser(limits);
  const pieces: Piece[] = [];
  for (let at = 0; at < tar.length; at += chunk)
    pieces.push(...sanitiser.push(Buffer.from(tar.subarray(at, at + chunk))));
  const end = sanitiser.end();
  pieces.push(...end.pieces);
  for (const { entry, target } of end.lower) pieces.push(...sanitiser.add({ ...entry, target }));
  const rest = sanitiser.finish();
  pieces.push(...rest.pieces);
  return {
    bytes: Buffer.concat(pieces.filter(piece => Buffer.isBuffer(piece))),
    opaque: rest.opaque,
    lower: end.lower.map(link => `${link.entry.path} => ${link.target}`),
    cuts: pieces.filter(piece => !Buffer.isBuffer(piece)).length,
  };
}

export type Shown = Partial<Entry> & { readonly content?: string };

/** Reads what comes out: only headers that the writer writes are in it. Fields that are of no interest are left out. */
export function members(bytes: Buffer): Shown[] {
  const out: Shown[] = [];
  let records: Records = new Map();
  let longName: string | undefined;
  let longTarget: string | undefined;
  for (let at = 0; at < bytes.length; ) {
    if (isZero(bytes, at)) {
      at += 512;
      continue;
    }
    const header = parseHeader(bytes, at);
    const data = bytes.subarray(at + 512, at + 512 + header.size);
    at += 512 + Math.ceil(header.size / 512) * 512;
    if (header.type === 'x') {
      const all = parseRecords(data);
      assert.ok([...all.keys()].every(key => /^(uid|gid|size|mtime|SCHILY\.xattr\..+)$/.test(key)));
      records = all;
      continue;
    }
    const text = data.toString('latin1').replace(/\0$/, '');
    if (header.type === 'L') longName = text;
    else if (header.type === 'K') longTarget = text;
    else {
      // parseMember refuses marks of overlayfs; here they are looked for.
      const isMark = header.type === '3' && header.major === 0 && header.minor === 0;
      const marks = new Map([...records].filter(([key]) => key.startsWith('SCHILY.xattr.trusted.')));
      for (const key of marks.keys()) (records as Map<string, string>).delete(key);
      const entry = parseMember(isMark ? { ...header, minor: 1 } : header, { records, longName, longTarget });
      const shown: Shown = {
        kind: entry.kind,
        path: entry.path,
        ...(entry.target !== '' && { target: entry.target }),
        ...(entry.kind === 'file' && { content: text }),
        ...((entry.xattrs.length > 0 || marks.size > 0) && {
          xattrs: [
            ...entry.xattrs,
            ...[...marks].map(([key, value]) => ({ name: key.slice('SCHILY.xattr.'.length), value })),
          ],
        }),
      };
      out.push(isMark ? { ...shown, minor: 0 } : shown);
      records = new Map();
      longName = undefined;
      longTarget = undefined;
    }
  }
  return out;
}

/** What comes out of an archive of these parts. */
export const shown = (...parts: Buffer[]) => members(sanitise(archive(...parts)).bytes);

export const refused = (code: string) => (error: unknown) =>
  error instanceof SpawnletError && error.code === code;

export function refuses(code: string, ...parts: Buffer[]): void {
  assert.throws(() => sanitise(archive(...parts)), refused(code));
}
