import { once } from 'node:events';
import type { RequestListener, Server } from 'node:http';
import { createServer as createHttpServer } from 'node:http';
import type { Server as NetServer, Socket } from 'node:net';
import { createServer as createTcpServer } from 'node:net';

/** Servers of tests on the loop-back interface; closed, with their connections, when they go out of scope. */
export interface Listening extends AsyncDisposable {
  readonly port: number;
}

export async function listening(server: NetServer): Promise<Listening> {
  const sockets = new Set<Socket>();
  server.on('connection', socket => {
    sockets.add(socket);
    socket.on('error', () => undefined).once('close', () => sockets.delete(socket));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  return {
    port: typeof address === 'object' && address ? address.port : 0,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      const closed = once(server, 'close');
      server.close();
      await closed;
    },
  };
}

export const httpServer = (listener: RequestListener): Promise<Listening> =>
  listening(createHttpServer(listener) satisfies Server);

/** Takes connections and says nothing. */
export const silentServer = (): Promise<Listening> => listening(createTcpServer());

/** A port of the loop-back interface that nobody listens at. */
export async function deadPort(): Promise<number> {
  await using server = await silentServer();
  return server.port;
}
