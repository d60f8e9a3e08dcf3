import { connect } from 'node:net';
import { isErrno, SpawnletError } from '../host/error.ts';

/** journald answers when it has nothing else to do, which it may never have while a container logs without end. */
const patience = 3_000;

/** journald's varlink socket, of a namespace or of the host. */
function socketOf(namespace: string | undefined): string {
  const directory = namespace === undefined ? 'journal' : `journal.${namespace}`;
  return `/run/systemd/${directory}/io.systemd.journal`;
}

/**
 * Waits until journald has written what was sent to it: `journalctl --sync` without the child. A program's last lines
 * may otherwise not be in the journal yet when its unit has ended. Nothing to wait for where no journald listens, or where
 * it ends; not longer than three seconds where it is busy.
 */
export async function syncJournal(namespace: string | undefined, signal: AbortSignal): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const socket = connect(socketOf(namespace));
  const abort = () => reject(signal.reason);
  signal.addEventListener('abort', abort, { once: true });
  const late = AbortSignal.timeout(patience);
  late.addEventListener('abort', () => resolve(), { once: true });
  let answer = '';
  socket.on('error', reject);
  // One that ends, as a namespace's does with its last unit, writes what it has first.
  socket.on('close', () => resolve());
  socket.on('data', chunk => {
    answer += chunk.toString();
    if (!answer.includes('\0')) return;
    if (answer.includes('"error"')) reject(new SpawnletError('ERR_JOURNAL', `journald answered ${answer}`));
    else resolve();
  });
  // Varlink: a JSON object and a NUL, each way.
  socket.write('{"method":"io.systemd.Journal.Synchronize"}\0');
  try {
    await promise;
  } catch (error) {
    if (!isErrno(error, 'ENOENT', 'ECONNREFUSED', 'ECONNRESET', 'EPIPE')) throw error;
  } finally {
    signal.removeEventListener('abort', abort);
    socket.destroy();
  }
}
