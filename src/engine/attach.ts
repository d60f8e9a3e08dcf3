import { once } from 'node:events';
import { close, constants, read, write } from 'node:fs';
import { open } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { isErrno, SpawnletError } from '../host/error.ts';
import { pathOf, pathOnly } from '../host/handle.ts';
import { loadLibc } from '../host/libc.ts';

/** The caller's streams. Standard input is given only where the container keeps its own open. */
export interface Streams {
  readonly input?: Readable;
  readonly output: Writable;
  readonly error: Writable;
  /** Bytes that end the attachment and leave the container running; empty for none. */
  readonly detachKeys: Uint8Array;
}

/** The calls of node:fs that take a file descriptor, as promises; node:util, which has promisify, is slow to load. */
const readFd = (fd: number, room: Buffer, length: number) =>
  new Promise<number>((resolve, reject) =>
    read(fd, room, 0, length, null, (error, count) => (error ? reject(error) : resolve(count))),
  );
const writeFd = (fd: number, chunk: Buffer, at: number, length: number) =>
  new Promise<number>((resolve, reject) =>
    write(fd, chunk, at, length, null, (error, count) => (error ? reject(error) : resolve(count))),
  );
const closeFd = (fd: number) =>
  new Promise<void>((resolve, reject) => close(fd, error => (error ? reject(error) : resolve())));

/** conmon sends one byte that names the stream, then at most 8 KiB. */
const packetSize = 8193;
const standardError = 3;

const unixFamily = 1;
/** SOCK_SEQPACKET | SOCK_CLOEXEC: Node's own sockets know streams only. */
const packetType = 0o2000005;
const both = 2;
const writing = 1;

interface Sockets {
  socket(family: number, type: number, protocol: number): number;
  connect(fd: number, address: Uint8Array, length: number): number;
  shutdown(fd: number, how: number): number;
}

let loaded: Promise<Sockets> | undefined;

/** Loads the C library's socket calls; called early, the 20 ms that it takes pass while systemd starts the unit. */
export function loadSockets(): Promise<Sockets> {
  loaded ??= (async () => {
    const libc = await loadLibc();
    return {
      socket: libc.func('int socket(int, int, int)'),
      connect: libc.func('int connect(int, void *, unsigned int)'),
      shutdown: libc.func('int shutdown(int, int)'),
    };
  })();
  return loaded;
}

const notThere = (path: string) =>
  new SpawnletError('ERR_ATTACH', `nothing listens at ${path}`, { hint: 'the container is not running' });

/** A connection to a container's streams, through conmon's attach socket. */
export class Attachment implements AsyncDisposable {
  readonly #fd: number;
  readonly #libc: Sockets;
  #closed = false;

  private constructor(fd: number, libc: Sockets) {
    this.#fd = fd;
    this.#libc = libc;
  }

  /** @throws ERR_ATTACH if nobody listens there. */
  static async connect(path: string): Promise<Attachment> {
    const libc = await loadSockets();
    // A path of a pod may be longer than the 107 bytes of an address.
    await using directory = await open(dirname(path), pathOnly | constants.O_DIRECTORY).catch(() => {
      throw notThere(path);
    });
    const name = Buffer.from(`${pathOf(directory.fd)}/${basename(path)}`);
    const address = Buffer.alloc(2 + name.length + 1);
    address.writeUInt16LE(unixFamily, 0);
    name.copy(address, 2);
    const fd = libc.socket(unixFamily, packetType, 0);
    if (fd < 0 || libc.connect(fd, address, address.length) < 0) {
      if (fd >= 0) await closeFd(fd);
      throw notThere(path);
    }
    return new Attachment(fd, libc);
  }

  /** Copies until the container has closed its streams (`ended`) or the detach keys were typed. */
  async copy(streams: Streams, signal: AbortSignal): Promise<'ended' | 'detached'> {
    const abort = () => this.#shutdown(both);
    signal.addEventListener('abort', abort, { once: true });
    let detached = false;
    const input = streams.input && this.#send(streams.input, streams.detachKeys);
    const sent = input?.then(left => {
      detached = left;
      if (left) this.#shutdown(both);
      return left;
    });
    try {
      // What fails on the way in (the container closed its input) does not end what comes out.
      sent?.catch(() => undefined);
      await this.#receive(streams);
    } finally {
      signal.removeEventListener('abort', abort);
      streams.input?.pause();
    }
    signal.throwIfAborted();
    return detached ? 'detached' : 'ended';
  }

  async #receive({ output, error }: Streams): Promise<void> {
    let room = Buffer.alloc(0);
    for (;;) {
      if (room.length < packetSize) room = Buffer.allocUnsafeSlow(8 * packetSize);
      const count = await readFd(this.#fd, room, packetSize).catch((cause: unknown) => {
        if (isErrno(cause, 'ECONNRESET')) return 0;
        throw cause;
      });
      if (count === 0) return;
      const target = room[0] === standardError ? error : output;
      const flowing = target.write(room.subarray(1, count));
      room = room.subarray(count);
      if (!flowing) await once(target, 'drain');
    }
  }

  /** True when the detach keys were typed. */
  async #send(input: Readable, keys: Uint8Array): Promise<boolean> {
    let matched = 0;
    for await (const data of input) {
      const chunk = data as Buffer;
      // Keys that a match has begun with are held back until it is clear that they are not the sequence.
      const out: number[] = [];
      if (keys.length === 0) {
        await this.#write(chunk);
        continue;
      }
      for (const byte of chunk) {
        if (byte === keys[matched]) {
          matched++;
          if (matched === keys.length) {
            await this.#write(Buffer.from(out));
            return true;
          }
          continue;
        }
        out.push(...keys.subarray(0, matched));
        matched = byte === keys[0] ? 1 : 0;
        if (matched === 0) out.push(byte);
      }
      await this.#write(Buffer.from(out));
    }
    this.#shutdown(writing);
    return false;
  }

  async #write(chunk: Buffer): Promise<void> {
    // conmon reads packets of 32 KiB at most.
    for (let at = 0; at < chunk.length; )
      at += await writeFd(this.#fd, chunk, at, Math.min(8192, chunk.length - at));
  }

  #shutdown(how: number): void {
    if (!this.#closed) this.#libc.shutdown(this.#fd, how);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return;
    this.#shutdown(both);
    this.#closed = true;
    await closeFd(this.#fd);
  }
}

/** Tells conmon, through its control FIFO, how large the terminal is. */
export async function resize(controlFifo: string, rows: number, columns: number): Promise<void> {
  const fifo = await open(controlFifo, 'r+');
  try {
    await fifo.write(`1 ${rows} ${columns}\n`);
  } finally {
    await fifo.close();
  }
}

/**
 * Bytes of a key sequence in Docker's notation: `ctrl-p,ctrl-q`.
 *
 * @throws ERR_USAGE
 */
export function parseDetachKeys(text: string): Uint8Array {
  if (text === '') return new Uint8Array();
  const bytes = text.split(',').map(key => {
    const control = /^ctrl-([a-z@[\\\]^_])$/.exec(key)?.[1];
    if (control) return control.toUpperCase().charCodeAt(0) & 0x1f;
    if (/^[\u0020-\u007e]$/.test(key)) return key.charCodeAt(0);
    throw new SpawnletError('ERR_USAGE', `'${key}' is no key`, { hint: 'as in --detach-keys ctrl-p,ctrl-q' });
  });
  return Uint8Array.from(bytes);
}
