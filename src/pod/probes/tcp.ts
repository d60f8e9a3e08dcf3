import { once } from 'node:events';
import { messageOf } from '../../host/error.ts';
import { type Answer, failure, success } from './answer.ts';
import type { TcpHandler } from './handler.ts';

/** Succeeds if a connection can be made; it is closed at once. */
export async function askTcp({ host, port }: TcpHandler, signal: AbortSignal): Promise<Answer> {
  const { connect } = await import('node:net');
  const socket = connect({ host, port });
  try {
    await once(socket, 'connect', { signal });
    return success('');
  } catch (error) {
    signal.throwIfAborted();
    return failure(messageOf(error));
  } finally {
    socket.on('error', () => undefined).destroy();
  }
}
