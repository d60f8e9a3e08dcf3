import { once } from 'node:events';
import { parseCount } from '../app/request.ts';
import { SpawnletError } from '../host/error.ts';
import { logNamespace } from '../names.ts';
import type { ContainerStatus } from '../pod/api/kubernetes.ts';
import { unitOf } from '../pod/unit/names.ts';
import { invocationOf } from '../pod/worker/end.ts';
import { engineOf } from '../pod/worker/engine.ts';
import { containerIn, getPod, type KnownPod } from '../pod/worker/known.ts';
import { bytesOf, type JournalEntry, type JournalQuery, readJournal } from '../systemd/journal.ts';
import { syncJournal } from '../systemd/journal-sync.ts';
import { defineCommand } from './command.ts';
import { parseTime } from './logs.ts';
import { namespaceOf, namespaceOption } from './pod.ts';
import { containerOption } from './pod-exec.ts';
import { followRun } from './pod-follow.ts';

/** The status of a container of any kind. */
function statusOf({ pod: { status = {} } }: KnownPod, container: string): ContainerStatus | undefined {
  const { initContainerStatuses = [], containerStatuses = [], ephemeralContainerStatuses = [] } = status;
  return [...initContainerStatuses, ...containerStatuses, ...ephemeralContainerStatuses].find(
    ({ name }) => name === container,
  );
}

/**
 * The run that is asked for, as the kubelet finds it in the status: the one that is; of a container that has ended or waits to
 * run again, the one that was, which is then the one before, too. @throws ERR_NO_RUN
 */
function runOf(known: KnownPod, container: string, previous: boolean): string {
  const status = statusOf(known, container);
  const { state = {}, lastState } = status ?? {};
  const last = lastState?.terminated?.containerID;
  const current = state.running ? status?.containerID : state.terminated?.containerID || last;
  const found = previous ? last : current;
  if (found) return invocationOf(found);
  const what = previous ? 'no run before this one' : `not begun (${state.waiting?.reason ?? 'waiting'})`;
  throw new SpawnletError('ERR_NO_RUN', `container ${container} of ${known.identity.name} has ${what}`, {
    hint: `spawnlet pod describe ${known.identity.name}`,
  });
}

/** Writes entries as kubectl does, no more than so many bytes. True when these are written. */
function writer(timestamps: boolean, limit: number | undefined): (entry: JournalEntry) => Promise<boolean> {
  let left = limit ?? Number.POSITIVE_INFINITY;
  const open = { stdout: false, stderr: false };
  return async entry => {
    const stamp =
      timestamps && !open[entry.stream]
        ? `${new Date(entry.timestamp / 1000).toISOString().slice(0, -1)}${String(entry.timestamp % 1000).padStart(3, '0')}000Z `
        : '';
    open[entry.stream] = entry.partial;
    const bytes = Buffer.concat([Buffer.from(stamp), bytesOf(entry)]).subarray(0, left);
    left -= bytes.length;
    if (!process.stdout.write(bytes)) await once(process.stdout, 'drain');
    return left <= 0;
  };
}

export const logs = defineCommand({
  name: 'pod logs',
  group: 'Pods',
  summary: 'Show what a container of a pod wrote',
  synopsis: '[FLAG…] POD [CONTAINER]',
  arity: [1, 2],
  options: {
    ...namespaceOption,
    ...containerOption,
    follow: { type: 'boolean', short: 'f', help: 'go on with what comes, until the container ends' },
    previous: { type: 'boolean', short: 'p', help: 'of the run before this one' },
    since: { type: 'string', value: 'DURATION', help: '10m: no older than that' },
    'since-time': { type: 'string', value: 'TIME', help: '2026-11-22T10:00:00Z' },
    tail: { type: 'string', value: 'LINES', help: 'the last so many lines; -1 for all' },
    timestamps: { type: 'boolean', help: 'with the time of each line' },
    'limit-bytes': { type: 'string', value: 'BYTES', help: 'no more than that' },
  },
  examples: [
    ['spawnlet pod logs -f web', 'what comes'],
    ['spawnlet pod logs --previous --tail 20 web', 'the last words of the run before'],
  ],
  async run({ options, arguments: [pod = '', second] }, context) {
    const { host, signal } = context;
    const known = await getPod(host.files, namespaceOf(options), pod);
    const container = containerIn(known, options.container ?? second);
    const invocation = runOf(known, container.name, options.previous);
    if (options.since !== undefined && options['since-time'] !== undefined)
      throw new SpawnletError('ERR_FLAG_CONFLICT', '--since and --since-time do not go together', {
        hint: 'the later of the two is enough',
      });
    const now = host.clock.now();
    const begin = options.since ?? options['since-time'];
    const since = begin === undefined ? 0 : parseTime(begin, now);
    const tail =
      options.tail === undefined || options.tail === '-1' ? undefined : parseCount('tail', options.tail, 0);
    const limit =
      options['limit-bytes'] === undefined ? undefined : parseCount('limit-bytes', options['limit-bytes'], 1);
    const query: JournalQuery = {
      of: engineOf(known.pod).logOf({ identity: known.identity, name: container.name }, invocation),
      namespace: logNamespace,
      // journalctl gives the first lines after a time, not the last ones, when it is asked for both.
      ...(tail === undefined ? { since } : { tail }),
    };
    const put = writer(options.timestamps, limit);
    const write = async (entry: JournalEntry) => entry.timestamp >= since && (await put(entry));
    await syncJournal(logNamespace, signal);
    const runs = statusOf(known, container.name)?.state?.running !== undefined;
    if (!options.follow || options.previous || !runs) {
      for await (const entry of readJournal(host.children, query, signal)) if (await write(entry)) return 0;
      return 0;
    }
    await followRun(context, unitOf(known.identity, container.name), invocation, query, write);
    return 0;
  },
});
