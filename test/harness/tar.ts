/** What a test puts into a layer. Paths are relative: `bin/sh`. */
export type TarEntry =
  | {
      readonly path: string;
      readonly content: string | Buffer;
      readonly mode?: number;
      readonly owner?: Owner;
    }
  | { readonly path: string; readonly directory: true; readonly mode?: number; readonly owner?: Owner }
  | { readonly path: string; readonly symlink: string }
  | { readonly path: string; readonly hardlink: string };

export interface Owner {
  readonly uid: number;
  readonly gid: number;
}

const blockSize = 512;

/** A ustar archive of these entries, in this order, with times of 0: the same entries give the same bytes. */
export function makeTar(entries: readonly TarEntry[]): Buffer {
  return Buffer.concat([...entries.flatMap(tarMember), Buffer.alloc(2 * blockSize)]);
}

function tarMember(entry: TarEntry): Buffer[] {
  if ('content' in entry) {
    const content = Buffer.from(entry.content);
    const header = tarHeader(entry.path, '0', {
      size: content.length,
      mode: entry.mode ?? 0o644,
      ...entry.owner,
    });
    return [header, padded(content)];
  }
  if ('directory' in entry)
    return [tarHeader(`${entry.path}/`, '5', { mode: entry.mode ?? 0o755, ...entry.owner })];
  if ('symlink' in entry) return [tarHeader(entry.path, '2', { target: entry.symlink, mode: 0o777 })];
  return [tarHeader(entry.path, '1', { target: entry.hardlink, mode: 0o644 })];
}

export interface HeaderFields {
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  readonly size?: number;
  readonly target?: string;
}

/** One header block of any type, also with fields that no honest archive has. */
export function tarHeader(path: string, type: string, fields: HeaderFields = {}): Buffer {
  const block = Buffer.alloc(blockSize);
  const octal = (value: number, at: number, length: number) =>
    block.write(`${value.toString(8).padStart(length - 1, '0')}\0`, at, 'latin1');
  let name = path;
  if (Buffer.byteLength(name) > 100) {
    const slash = name.indexOf('/', name.length - 101);
    if (slash === -1) throw new Error(`${path} is too long for a ustar header`);
    block.write(name.slice(0, slash), 345);
    name = name.slice(slash + 1);
  }
  block.write(name, 0);
  octal(fields.mode ?? 0o644, 100, 8);
  octal(fields.uid ?? 0, 108, 8);
  octal(fields.gid ?? 0, 116, 8);
  octal(fields.size ?? 0, 124, 12);
  octal(0, 136, 12);
  block.write('        ', 148);
  block.write(type, 156);
  block.write((fields.target ?? '').slice(0, 100), 157);
  block.write('ustar\x0000', 257, 'latin1');
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return block;
}

function padded(content: Buffer): Buffer {
  return Buffer.concat([content, Buffer.alloc((blockSize - (content.length % blockSize)) % blockSize)]);
}
