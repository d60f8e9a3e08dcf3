import { open } from 'node:fs/promises';
import { isErrno } from '../../host/error.ts';
import type { Host } from '../../host/host.ts';
import { logNamespace } from '../../names.ts';
import { bytesOf, readJournal } from '../../systemd/journal.ts';
import { syncJournal } from '../../systemd/journal-sync.ts';
import type { Container, EphemeralContainer } from '../api/kubernetes.ts';
import type { Terminated } from '../status/observed.ts';
import type { PodIdentity } from '../unit/names.ts';
import { invocationOf } from './end.ts';
import type { ContainerEngine } from './engine.ts';
import { messagePath } from './files.ts';

/** What the kubelet takes of a message, and of a log in its place: bytes, and lines. */
const longestMessage = 4096;
const longestLog = 2048;
const mostLines = 80;

/** The container may have written any amount. */
async function readMessage(path: string): Promise<string> {
  try {
    await using file = await open(path);
    const { buffer, bytesRead } = await file.read(Buffer.alloc(longestMessage), 0, longestMessage, 0);
    return buffer.subarray(0, bytesRead).toString();
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return '';
    throw error;
  }
}

/**
 * What a container has left to be read when it has ended: the text in the file that is for it or, if the policy says so and it
 * has failed, the end of its log. Empty if there is nothing.
 */
export async function lastWords(
  host: Pick<Host, 'files' | 'children'>,
  engine: ContainerEngine,
  identity: PodIdentity,
  container: Container | EphemeralContainer,
  end: Terminated,
  signal: AbortSignal,
): Promise<string> {
  const message = await readMessage(messagePath(identity.uid, container.name));
  const isWanted = container.terminationMessagePolicy === 'FallbackToLogsOnError' && end.exitCode !== 0;
  if (message !== '' || !isWanted) return message;
  await syncJournal(logNamespace, signal);
  const lines: Buffer[] = [];
  for await (const entry of readJournal(
    host.children,
    {
      of: engine.logOf({ identity, name: container.name }, invocationOf(end.containerID)),
      namespace: logNamespace,
      tail: mostLines,
    },
    signal,
  ))
    lines.push(bytesOf(entry));
  return Buffer.concat(lines).subarray(-longestLog).toString();
}
