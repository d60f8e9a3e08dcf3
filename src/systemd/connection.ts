import { connect, type Socket } from 'node:net';
import { isErrno, SpawnletError } from '../host/error.ts';
import { marshal } from './marshal.ts';
import { Framer } from './unmarshal.ts';
import { type Incoming, messageType, type Outgoing, type Value, WireError } from './wire.ts';

/** Where a D-Bus peer listens: systemd itself, or a bus that routes to it. */
export type Address =
  | { readonly kind: 'private'; readonly path: string }
  | { readonly kind: 'bus'; readonly path: string };

/** systemd's own socket: peer to peer, for root alone, there also while no bus runs. */
export const privateAddress: Address = { kind: 'private', path: '/run/systemd/private' };
export const systemBusAddress: Address = { kind: 'bus', path: '/run/dbus/system_bus_socket' };

/** An error reply. `errorName` is D-Bus's, such as `org.freedesktop.systemd1.NoSuchUnit`. */
export class BusError extends Error {
  override readonly name = 'BusError';
  readonly errorName: string;

  constructor(errorName: string, message: string) {
    super(message);
    this.errorName = errorName;
  }
}

/** The connection, or systemd's to the bus, went away; whether a call that was under way took effect is not known. */
export class ConnectionLost extends Error {
  override readonly name = 'ConnectionLost';
}

/** What a bus says of a call whose receiver has gone away. */
const noReply = 'org.freedesktop.DBus.Error.NoReply';

/** Gets each signal with the connection that it came by. */
export type SignalListener = (message: Incoming, connection: Connection) => void;

interface Pending {
  reply(message: Incoming): void;
  fail(error: unknown): void;
}

/** Milliseconds that a reply may take, unless the call says otherwise: what sd-bus has. */
export const replyDeadline = 25_000;

/**
 * One D-Bus connection: calls with deadlines, signals to one listener. It does not come back when lost.
 *
 * Authentication and the first calls go out in one write. `EXTERNAL` needs no challenge, so there is nothing to wait for.
 */
export class Connection implements AsyncDisposable {
  readonly #socket: Socket;
  readonly #pending = new Map<number, Pending>();
  readonly #onSignal: SignalListener;
  readonly address: Address;
  /** Resolves with why, once the connection is gone. */
  readonly closed: Promise<unknown>;
  #serial = 0;
  #lost: ConnectionLost | undefined;

  private constructor(address: Address, onSignal: SignalListener) {
    const socket = connect(address.path);
    this.address = address;
    this.#socket = socket;
    this.#onSignal = onSignal;
    this.closed = new Promise(resolve => {
      socket.once('close', () => {
        this.#lost ??= new ConnectionLost('the connection was closed');
        for (const pending of this.#pending.values()) pending.fail(this.#lost);
        this.#pending.clear();
        resolve(this.#lost);
      });
    });
    socket.on('error', error => {
      this.#lost ??= new ConnectionLost(error.message, { cause: error });
    });
  }

  /**
   * Connects and authenticates as the user of this process. Rejects with the system's error (`ECONNREFUSED`,
   * `ENOENT`, `EACCES`) or with `ERR_NOT_ROOT` if the peer refuses the user.
   */
  static async open(address: Address, onSignal: SignalListener, signal: AbortSignal): Promise<Connection> {
    signal.throwIfAborted();
    const connection = new Connection(address, onSignal);
    const abort = () => connection.close();
    signal.addEventListener('abort', abort, { once: true });
    try {
      const greeted = connection.#authenticate();
      if (address.kind === 'bus') {
        const hello = connection.#send({
          destination: 'org.freedesktop.DBus',
          path: '/org/freedesktop/DBus',
          interface: 'org.freedesktop.DBus',
          member: 'Hello',
        });
        await Promise.all([greeted, hello]);
      } else await greeted;
    } catch (error) {
      connection.close();
      signal.throwIfAborted();
      throw error instanceof ConnectionLost && error.cause ? error.cause : error;
    } finally {
      signal.removeEventListener('abort', abort);
    }
    return connection;
  }

  #authenticate(): Promise<void> {
    const socket = this.#socket;
    const uid = Buffer.from(String(process.getuid?.() ?? 0)).toString('hex');
    socket.write(`\0AUTH EXTERNAL ${uid}\r\nBEGIN\r\n`);
    return new Promise((resolve, reject) => {
      let line: Buffer = Buffer.alloc(0);
      const greet = (chunk: Buffer) => {
        line = line.length === 0 ? chunk : Buffer.concat([line, chunk]);
        const end = line.indexOf('\r\n');
        if (end < 0 && line.length < 4096) return;
        socket.off('data', greet);
        if (end < 0 || !line.subarray(0, end).toString('latin1').startsWith('OK ')) {
          reject(
            new SpawnletError('ERR_NOT_ROOT', 'systemd refused this user', { hint: 'run spawnlet as root' }),
          );
          return;
        }
        const framer = new Framer();
        const read = (bytes: Buffer) => this.#read(framer, bytes);
        socket.on('data', read);
        read(line.subarray(end + 2));
        resolve();
      };
      socket.on('data', greet);
      void this.closed.then(reject);
    });
  }

  #read(framer: Framer, chunk: Buffer): void {
    try {
      for (const message of framer.push(chunk)) {
        // Closed by who heard the message before: its calls are lost, whatever else is said of them.
        if (this.#socket.destroyed) return;
        if (message.type === messageType.signal) this.#onSignal(message, this);
        else this.#pending.get(message.replySerial)?.reply(message);
      }
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
      this.#lost = new ConnectionLost(error.message, { cause: error });
      this.#socket.destroy();
    }
  }

  /**
   * Calls a method and gives the arguments of its reply. `use` runs while the reply is read, before any later message
   * is: what it registers cannot miss a signal. An error reply is a {@link BusError}.
   */
  async call<T = Value[]>(
    message: Outgoing,
    signal: AbortSignal,
    use: (body: Value[]) => T = body => body as T,
    deadline = replyDeadline,
  ): Promise<T> {
    signal.throwIfAborted();
    let stop = () => {};
    const stopped = new Promise<never>((_resolve, reject) => {
      const abort = () => reject(signal.reason);
      const timer = setTimeout(
        () =>
          reject(
            new SpawnletError(
              'ERR_SYSTEMD_TIMEOUT',
              `systemd did not answer ${message.member} within ${deadline} ms`,
              {
                hint: 'systemctl list-jobs; journalctl -b _PID=1',
              },
            ),
          ),
        deadline,
      );
      signal.addEventListener('abort', abort, { once: true });
      stop = () => {
        clearTimeout(timer);
        signal.removeEventListener('abort', abort);
      };
    });
    try {
      return await Promise.race([this.#send(message, use), stopped]);
    } finally {
      stop();
    }
  }

  #send<T = Value[]>(message: Outgoing, use: (body: Value[]) => T = body => body as T): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      if (this.#lost) {
        reject(this.#lost);
        return;
      }
      const serial = ++this.#serial;
      const bytes = marshal(serial, message);
      this.#pending.set(serial, {
        reply: reply => {
          this.#pending.delete(serial);
          try {
            const body = reply.body();
            if (reply.type !== messageType.error) resolve(use(body));
            else {
              const text = typeof body[0] === 'string' ? body[0] : reply.errorName;
              reject(
                reply.errorName === noReply ? new ConnectionLost(text) : new BusError(reply.errorName, text),
              );
            }
          } catch (error) {
            reject(error);
          }
        },
        fail: reject,
      });
      this.#socket.write(bytes);
    });
  }

  /** Ends the connection at once; calls under way fail with {@link ConnectionLost}. */
  close(): void {
    this.#socket.destroy();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
    await this.closed;
  }
}

/** True when nothing listens at an address: the peer is not there, or not yet. */
export function isAbsent(error: unknown): boolean {
  return isErrno(error, 'ENOENT', 'ECONNREFUSED', 'ENOTDIR');
}
