// runs in a lab: bookworm +containernetworking-plugins +nftables
// How containers and pods end: when they are told to, within their time, in their order, and all of them.
import assert from 'node:assert/strict';
import { watch } from 'node:fs';
import { mkdir, open, readFile, rm, stat } from 'node:fs/promises';
import { after, test } from 'node:test';
import type { ContainerStateTerminated, PodStatus } from '../../src/pod/api/kubernetes.ts';
import { directoryOf } from '../../src/pod/unit/names.ts';
import { eventually, system } from '../app/tools.ts';
import { apply, image, isReady, podNamed, podOf, remove, until, useHost } from './agent.ts';

/** What containers tell of their last moments. */
const told = '/srv/told';

useHost({ prepare: () => mkdir(told, { recursive: true }) });
after(() => rm(told, { recursive: true }));

/** A container that runs a script of bash, which may write to /told. */
const container = (name: string, script: string, more: object = {}) => ({
  name,
  image,
  command: ['bash', '-c', script],
  volumeMounts: [{ name: 'told', mountPath: '/told' }],
  ...more,
});

const pod = (name: string, containers: readonly object[], spec: object = {}) =>
  podOf(name, containers, { volumes: [{ name: 'told', hostPath: { path: told } }], ...spec });

/** A script that, told to end, does so. */
const onTerm = (does: string) => `trap '${does}' TERM; while :; do sleep 0.05; done`;
const says = (word: string) => `echo ${word} $EPOCHREALTIME >>/told/$HOSTNAME`;

const lines = async (name: string): Promise<[word: string, seconds: number][]> =>
  (await readFile(`${told}/${name}`, 'utf8'))
    .trim()
    .split('\n')
    .map(line => line.split(' '))
    .map(([word = '', time = '']) => [word, Number(time)]);

/** Removes a pod and waits until it is gone; how long that took, in seconds. */
async function removed(name: string): Promise<number> {
  const begin = performance.now();
  await remove(name);
  await eventually(async () => (await podNamed(name)) === undefined, `pod ${name} is gone`);
  return (performance.now() - begin) / 1000;
}

/** Waits for each new status of a pod, by the file that it is in, and tells when it was written, in seconds. */
async function statuses(uid: string, each: (status: PodStatus, time: number) => boolean): Promise<void> {
  const directory = directoryOf(uid);
  const file = `${directory}/state.json`;
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const look = async () => {
    // Written anew and put in its place: both are of the same one.
    await using handle = await open(file);
    const time = (await handle.stat()).mtimeMs / 1000;
    const { status } = JSON.parse(await handle.readFile('utf8')) as { status?: PodStatus };
    if (status && each(status, time)) resolve();
  };
  const watcher = watch(directory, () => void look().catch(reject));
  try {
    await look();
    await promise;
  } finally {
    watcher.close();
  }
}

test('a container that ends when it is told, a slow one and one that does not: each has its own code, within the grace period', async () => {
  const last = container('last', onTerm('sleep 1; exit'), { restartPolicy: 'Always' });
  await apply(
    'three',
    pod(
      'three',
      [
        container('ends', onTerm('exit 0')),
        container('slow', onTerm('sleep 1; exit 7')),
        container('hangs', onTerm('')),
        container('unaware', 'while :; do sleep 0.05; done'),
        container('killed', onTerm(''), { lifecycle: { stopSignal: 'SIGKILL' } }),
      ],
      { terminationGracePeriodSeconds: 3, os: { name: 'linux' }, initContainers: [last] },
    ),
  );
  const { metadata } = await until('three', 'is ready', isReady);
  const ends = new Map<string, ContainerStateTerminated>();
  const over = statuses(metadata?.uid ?? '', ({ containerStatuses = [] }) => {
    for (const { name, state } of containerStatuses) if (state?.terminated) ends.set(name, state.terminated);
    return ends.size === 5;
  });
  await removed('three');
  await over;
  const shown = [...ends].map(([name, { exitCode, reason }]) => `${name} ${exitCode} ${reason}`);
  assert.deepEqual(shown.toSorted(), [
    'ends 0 Completed',
    'hangs 137 Error',
    'killed 137 Error',
    'slow 7 Error',
    'unaware 137 Error',
  ]);
  const after = (name: string) =>
    (Date.parse(ends.get(name)?.finishedAt ?? '') - Date.parse(ends.get('ends')?.finishedAt ?? '')) / 1000;
  assert.ok(after('slow') >= 0 && after('slow') <= after('hangs'), `slow after ${after('slow')} s`);
  // Times of the API are whole seconds.
  assert.ok(after('hangs') >= 2, `killed after ${after('hangs')} s`);
});

test('preStop comes first, takes from the grace period, and cannot take more than that', async () => {
  const preStop = (script: string) => ({
    lifecycle: { preStop: { exec: { command: ['bash', '-c', script] } } },
  });
  const term = onTerm(`${says('term')}; exit`);
  await apply(
    'hooked',
    pod('hooked', [container('main', term, preStop(`${says('hook')}; sleep 0.5; ${says('hooked')}`))]),
  );
  await apply('stuck', pod('stuck', [container('main', term, preStop('sleep 60'))]));
  await Promise.all(['hooked', 'stuck'].map(name => until(name, 'is ready', isReady)));
  const [, stuck] = await Promise.all(['hooked', 'stuck'].map(removed));
  const [hook, hooked, last] = await lines('hooked');
  assert.deepEqual([hook?.[0], hooked?.[0], last?.[0]], ['hook', 'hooked', 'term']);
  assert.ok((last?.[1] ?? 0) >= (hooked?.[1] ?? 0));
  // Told to end after its two seconds of grace, all the same.
  assert.deepEqual(
    (await lines('stuck')).map(([word]) => word),
    ['term'],
  );
  assert.ok((stuck ?? 0) >= 2 && (stuck ?? 0) < 20, `gone after ${stuck} s`);
});

test('sidecars end after the main containers, the last one first, each when the one before is gone', async () => {
  const slowly = (name: string) => onTerm(`${says(name)}; sleep 0.2; ${says(`${name}-gone`)}; exit`);
  const sidecar = (name: string) => container(name, slowly(name), { restartPolicy: 'Always' });
  await apply(
    'ordered',
    pod('ordered', [container('main', slowly('main'))], {
      terminationGracePeriodSeconds: 20,
      initContainers: [sidecar('first'), sidecar('second')],
    }),
  );
  await until('ordered', 'is ready', isReady);
  await removed('ordered');
  const words = (await lines('ordered')).map(([word]) => word);
  assert.deepEqual(words, ['main', 'main-gone', 'second', 'second-gone', 'first', 'first-gone']);
});

test('a pod is gone only when its last process is, though its programs have ended', async () => {
  // With the processes of the host, a program that has ended takes none with it.
  const child = '(trap "" TERM; exec -a stubborn-child sleep 1000) &';
  await apply('leaves', pod('leaves', [container('main', `${child} ${onTerm('exit')}`)], { hostPID: true }));
  const { metadata } = await until('leaves', 'is ready', isReady);
  const processes = () => system('sh', '-c', 'pgrep -f "^stubborn-child" || :');
  await eventually(async () => (await processes()) !== '', 'the child runs');
  const directory = directoryOf(metadata?.uid ?? '');
  /** What there is of the pod's processes in the moment that it is gone. */
  const left = Promise.withResolvers<string>();
  const look = async () => {
    if (await stat(directory).catch(() => undefined)) return;
    left.resolve(await processes());
  };
  const watcher = watch('/var/lib/spawnlet/pods', () => void look().catch(left.reject));
  await removed('leaves');
  assert.equal(await left.promise, '');
  watcher.close();
});

/** How long a program takes to start and end, in seconds. */
async function paceNow(): Promise<number> {
  const begin = performance.now();
  await system('true');
  return (performance.now() - begin) / 1000;
}

test('an end is in the status at once', async () => {
  const count = 8;
  const names = Array.from({ length: count }, (_, index) => `c${index}`);
  await apply(
    'ends',
    pod(
      'ends',
      names.map((name, index) =>
        container(name, `sleep ${3 + index * 0.3}; echo ${name} $EPOCHREALTIME >>/told/ends`),
      ),
      { restartPolicy: 'Never' },
    ),
  );
  const { metadata } = await until('ends', 'is there', () => true);
  const paces: number[] = [];
  const seen = new Map<string, number>();
  const over = statuses(metadata?.uid ?? '', ({ containerStatuses = [] }, time) => {
    for (const { name, state } of containerStatuses)
      if (state?.terminated && !seen.has(name)) seen.set(name, time);
    return seen.size === count;
  });
  const halfway = async () => {
    paces.push(await paceNow());
    return seen.size >= count / 2;
  };
  await eventually(halfway, 'half of the containers have ended', 150);
  await over;
  const late = (await lines('ends'))
    .map(([name, time]) => (seen.get(name) ?? Infinity) - time)
    .toSorted((a, b) => a - b);
  // Others work on this machine, too: then a program takes longer to start and end than its few milliseconds.
  const pace = paces.toSorted((a, b) => a - b)[paces.length >> 1] ?? 0;
  const bound = Math.max(0.1, 10 * pace);
  const ms = (each: number) => `${Math.round(each * 1000)} ms`;
  const shown = `${late.map(ms).join(', ')}; a program takes ${ms(pace)}`;
  assert.ok((late[0] ?? Infinity) <= bound, shown);
  assert.ok((late[count / 2] ?? Infinity) <= 10 * bound, shown);
  assert.ok((late[0] ?? -1) >= 0, shown);
  await removed('ends');
});
