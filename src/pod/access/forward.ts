import { once } from 'node:events';
import { connect, createServer, isIPv6, type Server, type Socket } from 'node:net';
import { isErrno, messageOf, SpawnletError } from '../../host/error.ts';
import type { Container, EphemeralContainer } from '../api/kubernetes.ts';

/** A port of this host and the port of the pod that it leads to. */
export interface Forwarding {
  /** 0 for any that is free. */
  readonly local: number;
  readonly remote: number;
}

const maxPort = 65_535;

function numberOf(text: string, least: number): number | undefined {
  const number = /^\d{1,5}$/.test(text) ? Number(text) : Number.NaN;
  return number >= least && number <= maxPort ? number : undefined;
}

/**
 * `[LOCAL:]REMOTE` as kubectl has it: without LOCAL, the port of the same number; with nothing in its place, any. REMOTE may be
 * the name of a port of a container.
 *
 * @throws ERR_FLAG_VALUE, ERR_NO_PORT
 */
export function parseForwarding(
  text: string,
  containers: readonly Pick<Container | EphemeralContainer, 'ports'>[],
): Forwarding {
  const [, local, name = ''] = /^(?:(\d*):)?([^:]+)$/.exec(text) ?? [];
  const ports = containers.flatMap(({ ports: its = [] }) => its);
  const remote = numberOf(name, 1) ?? ports.find(port => port.name === name)?.containerPort;
  if (remote === undefined && /^[a-z0-9-]*[a-z][a-z0-9-]*$/.test(name)) {
    const names = ports.flatMap(port => port.name ?? []);
    throw new SpawnletError('ERR_NO_PORT', `the pod has no port named ${JSON.stringify(name)}`, {
      hint:
        names.length > 0 ? `one of ${names.join(', ')}, or a number` : 'its ports have no names: a number',
    });
  }
  const wanted = local === undefined ? remote : local === '' ? 0 : numberOf(local, 0);
  if (remote !== undefined && wanted !== undefined) return { local: wanted, remote };
  throw new SpawnletError('ERR_FLAG_VALUE', `'${text}' is no [LOCAL:]REMOTE`, {
    hint: `as in 8080:80; ports are from 1 to ${maxPort}`,
  });
}

/** What listens is told of itself, and of each connection that comes or fails. */
export interface ForwardNews {
  listening(address: string, local: number, remote: number): void;
  connected(local: number): void;
  failed(local: number, remote: number, why: string): void;
}

/**
 * Leads connections to ports of this host to ports of a network namespace's own addresses: 127.0.0.1, else ::1. The namespace is the
 * one that this process is in when a connection comes.
 */
export class Forwarder implements AsyncDisposable {
  readonly #servers: Server[] = [];
  readonly #sockets = new Set<Socket>();
  readonly #news: ForwardNews;
  readonly #ready: Promise<void>;

  /** @param ready connections wait for it */
  constructor(news: ForwardNews, ready: Promise<void>) {
    this.#news = news;
    this.#ready = ready;
  }

  /**
   * Listens on each of the addresses; on `localhost` on those of both families, of which a host may have one alone.
   *
   * @throws ERR_PORT_TAKEN, ERR_FLAG_VALUE
   */
  async listen({ local, remote }: Forwarding, addresses: readonly string[]): Promise<void> {
    const failures: unknown[] = [];
    let port = local;
    for (const name of addresses) {
      const found: Server[] = [];
      for (const address of name === 'localhost' ? ['127.0.0.1', '::1'] : [name]) {
        try {
          const server = await this.#listen(address, port, remote);
          port = portOf(server);
          found.push(server);
          this.#news.listening(address, port, remote);
        } catch (error) {
          failures.push(refusal(error, address, port));
        }
      }
      if (found.length === 0) throw failures[0];
    }
  }

  async #listen(address: string, port: number, remote: number): Promise<Server> {
    const server = createServer(
      { allowHalfOpen: true },
      client => void this.#lead(client, portOf(server), remote),
    );
    this.#servers.push(server);
    server.listen({ host: address, port, ipv6Only: isIPv6(address) });
    await once(server, 'listening');
    return server;
  }

  /** Carries both ways, at the pace of who reads; the end of one way is passed on by itself. */
  async #lead(client: Socket, local: number, remote: number): Promise<void> {
    this.#keep(client);
    this.#news.connected(local);
    await this.#ready;
    const inside = await this.#reach(remote).catch((error: unknown) => {
      this.#news.failed(local, remote, messageOf(error));
    });
    if (!inside || client.destroyed) {
      inside?.destroy();
      client.resetAndDestroy();
      return;
    }
    for (const [from, to] of [
      [client, inside],
      [inside, client],
    ] as const) {
      from.pipe(to);
      // A connection that was not ended both ways was cut off: so is the other one.
      from.on('close', () => {
        if (!from.readableEnded || !from.writableFinished) to.resetAndDestroy();
      });
    }
  }

  async #reach(port: number): Promise<Socket> {
    let failure: unknown;
    for (const host of ['127.0.0.1', '::1']) {
      const socket = connect({ host, port, allowHalfOpen: true });
      this.#keep(socket);
      try {
        await once(socket, 'connect');
        return socket;
      } catch (error) {
        failure ??= error;
      }
    }
    throw failure;
  }

  /** Errors of a connection end it: `close` comes after them. */
  #keep(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on('error', () => undefined);
    socket.on('close', () => this.#sockets.delete(socket));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const server of this.#servers) server.close();
    for (const socket of this.#sockets) socket.resetAndDestroy();
  }
}

function portOf(server: Server): number {
  const address = server.address();
  return typeof address === 'object' && address ? address.port : 0;
}

function refusal(error: unknown, address: string, port: number): unknown {
  if (isErrno(error, 'EADDRINUSE'))
    return new SpawnletError('ERR_PORT_TAKEN', `a program listens on port ${port} of ${address}`, {
      hint: `another port, or any: :${port}`,
      cause: error,
    });
  if (isErrno(error, 'EADDRNOTAVAIL', 'EINVAL', 'ENOTFOUND', 'EAFNOSUPPORT'))
    return new SpawnletError('ERR_FLAG_VALUE', `${address} is no address of this host`, {
      hint: 'ip address: lists them',
      cause: error,
    });
  return error;
}
