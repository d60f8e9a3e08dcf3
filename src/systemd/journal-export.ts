import { SpawnletError } from '../host/error.ts';

/** Fields of one entry, by name; of a field that comes twice the last. */
export type JournalFields = ReadonlyMap<string, Buffer>;

const newline = 0x0a;
const equals = 0x3d;

/** Bytes of one entry: systemd-journald keeps no field above 768 MiB, spawnlet reads none of that size. */
const maxEntry = 64 * 1024 * 1024;

/**
 * Cuts `journalctl --output=export` into entries: systemd's "Journal Export Format". A field is `NAME=text` and a
 * newline, or, where it holds bytes that are no text, `NAME`, a newline, 64 bits of length, the bytes and a newline. An
 * empty line ends the entry.
 */
export class ExportParser {
  #rest: Buffer = Buffer.alloc(0);
  #chunks: Buffer[] = [];
  #size = 0;
  /** Bytes without which nothing can be completed. */
  #wanted = 1;
  #fields = new Map<string, Buffer>();

  /** The entries that `chunk` completes. Their buffers are views of what was pushed. */
  push(chunk: Buffer): JournalFields[] {
    this.#chunks.push(chunk);
    this.#size += chunk.length;
    if (this.#size < this.#wanted) return [];
    if (this.#size > maxEntry)
      throw new SpawnletError('ERR_JOURNAL', 'the journal gave an entry that is too large');
    const bytes = this.#chunks.length === 1 ? chunk : Buffer.concat(this.#chunks, this.#size);
    const entries: JournalFields[] = [];
    let at = 0;
    this.#wanted = 0;
    while (at < bytes.length) {
      const next = this.#field(bytes, at, entries);
      if (next < 0) break;
      at = next;
    }
    this.#rest = bytes.subarray(at);
    this.#chunks = this.#rest.length > 0 ? [this.#rest] : [];
    this.#size = this.#rest.length;
    this.#wanted = Math.max(this.#wanted, this.#size + 1);
    return entries;
  }

  /** Reads one line or field at `at` and gives where the next begins; -1 if it is not all there. */
  #field(bytes: Buffer, at: number, entries: JournalFields[]): number {
    const end = bytes.indexOf(newline, at);
    if (end < 0) return -1;
    if (end === at) {
      if (this.#fields.size > 0) entries.push(this.#fields);
      this.#fields = new Map();
      return end + 1;
    }
    const line = bytes.subarray(at, end);
    const split = line.indexOf(equals);
    if (split >= 0) {
      this.#fields.set(line.toString('latin1', 0, split), line.subarray(split + 1));
      return end + 1;
    }
    const start = end + 9;
    if (start > bytes.length) return -1;
    const size = bytes.readBigUInt64LE(end + 1);
    if (size > maxEntry)
      throw new SpawnletError('ERR_JOURNAL', 'the journal gave an entry that is too large');
    const after = start + Number(size);
    if (after >= bytes.length) {
      this.#wanted = after + 1 - at;
      return -1;
    }
    this.#fields.set(line.toString('latin1'), bytes.subarray(start, after));
    return after + 1;
  }
}
