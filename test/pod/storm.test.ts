// runs in a lab: bookworm +containernetworking-plugins +nftables
// The agent is killed while pods come, run, fail and go: nothing runs twice, every end is told, nothing is left.
import assert from 'node:assert/strict';
import { mkdir, readFile, rm } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { ended } from '../../src/host/child.ts';
import { systemFiles } from '../../src/host/files.ts';
import { podsDirectory } from '../../src/names.ts';
import type { Pod } from '../../src/pod/api/kubernetes.ts';
import { knownPods } from '../../src/pod/worker/known.ts';
import { debianImage, eventually, type Fixture, system, useImages } from '../app/tools.ts';
import { type KilledCommand, useKilledCommand } from '../host/killed-command.ts';
import { apply, eventsOf, isReady, manifests, ofPods, podOf, remove, useAgent } from './agent.ts';

const image = 'localhost/images:deb';
const notes = '/srv/storm';

let images: Fixture;
let command: KilledCommand;
let clean = '';

before(async () => {
  images = await useImages({ deb: debianImage() });
  command = await useKilledCommand();
  await mkdir(notes);
  await mkdir(manifests, { recursive: true });
  // What the first pod leaves for all that follow: the network, classes of service.
  await using agent = await useAgent();
  await apply('first', podOf('first', [noted('first', 'exit 0')], once));
  await eventually(
    async () => (await phaseOf('first')) === 'Succeeded',
    `the first pod is done\n${agent.said()}`,
  );
  await remove('first');
  await eventually(async () => (await directories()).length === 0, 'the first pod is gone');
  clean = await ofPods();
});

after(async () => {
  await rm(notes, { recursive: true });
  await command[Symbol.asyncDispose]();
  await images[Symbol.asyncDispose]();
});

const once = { restartPolicy: 'Never', volumes: [{ name: 'notes', hostPath: { path: notes } }] };
const always = { volumes: once.volumes };

/** A container that notes each run, and whether another was there at the same time. */
const noted = (name: string, script: string) => ({
  name,
  image,
  command: [
    'sh',
    '-c',
    `cd /notes; mkdir ${name}.runs || echo ${name} >> twice; echo $HOSTNAME >> ${name}; end() { rm -r ${name}.runs; exit $1; }; trap 'end 0' TERM; ${script.replaceAll('exit', 'end')}`,
  ],
  volumeMounts: [{ name: 'notes', mountPath: '/notes' }],
});

const forever = 'while :; do sleep 0.05; done';
const runsOf = async (name: string) =>
  (await readFile(`${notes}/${name}`, 'utf8').catch(() => '')).split('\n').length - 1;

const podNamed = async (name: string): Promise<Pod | undefined> =>
  (await knownPods(systemFiles)).find(({ identity }) => identity.name === name)?.pod;
const directories = () => systemFiles.list(podsDirectory);
const phaseOf = async (name: string) => (await podNamed(name))?.status?.phase;
const containersOf = (pod: Pod | undefined) => pod?.status?.containerStatuses ?? [];
const exitCodeOf = (pod: Pod | undefined) => containersOf(pod)[0]?.state?.terminated?.exitCode;

/** Nobody ran beside themselves. */
const noneTwice = async () => assert.equal(await readFile(`${notes}/twice`, 'utf8').catch(() => ''), '');

/** Agents, one after the other, until all is as wanted. @param border where the first one is killed, the second, … */
async function killedOnes(
  what: string,
  border: (number: number) => number,
  isSo: () => Promise<boolean>,
): Promise<number> {
  let kills = 0;
  while (!(await isSo())) {
    assert.ok(++kills < 100, `${what} does not come to pass`);
    const child = command.start(border(kills), ['kubelet'], 'records');
    const end = ended(child);
    const isOver = async () => child.exitCode !== null || child.signalCode !== null || (await isSo());
    await eventually(isOver, what);
    child.kill('SIGKILL');
    await end;
    // What it has begun goes on without it, to its end: the next one finds that.
    const up = [
      'systemctl',
      'list-units',
      '--plain',
      '--no-legend',
      '--state=active,activating,deactivating',
    ];
    await eventually(async () => (await system(...up, 'pod-*.service')) === '', 'what was begun has ended');
  }
  return kills;
}

test('agents that are killed after each thing that they do bring a pod from its beginning to its end', async () => {
  const kept = async () =>
    (await knownPods(systemFiles)).find(({ identity }) => identity.name === 'walked')?.kept;
  const stateOf = async () => (await kept())?.observed.containers['main']?.state.kind;
  const isAtTheEnd = async () => (await kept())?.finished === true && (await phaseOf('walked')) === 'Failed';
  // What is done stays done, a step or two for each agent; it has a few borders before that, in finding the pod as it is.
  const on = (number: number) => 4 + (number % 4);
  // A start begins anew.
  const anew = (number: number) => number;
  await apply('walked', podOf('walked', [noted('main', 'sleep 0.1; exit 3')], once));
  // It is short: where an agent was killed as it had started it, the next one finds it ended.
  const hasRun = async () => ['running', 'terminated'].includes((await stateOf()) ?? '');
  const kills = [
    await killedOnes('it has its network', on, async () => (await kept())?.observed.sandbox.kind === 'ready'),
    await killedOnes('its container has run', anew, hasRun),
    await killedOnes('all of it has ended', on, isAtTheEnd),
  ];
  assert.ok(Math.min(kills[0] ?? 0, kills[1] ?? 0) > 8, `kills: ${kills.join(', ')}; is anything watched?`);
  assert.deepEqual([exitCodeOf(await podNamed('walked')), await runsOf('main')], [3, 1]);
  const events = await eventsOf('walked');
  assert.deepEqual(
    events.filter(event => event.startsWith('Started')),
    ['Started main x1'],
  );
  await remove('walked');
  await killedOnes('the pod is gone', on, async () => (await directories()).length === 0);
  await noneTwice();
  assert.equal(await ofPods(), clean);
});

test('an agent that is killed again and again, whenever it is, loses no pod and no end', async () => {
  const seed = Number(process.env['FAULT_SEED'] ?? Date.now() % 100_000);
  let state = seed;
  const random = () => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    return state / 2 ** 32;
  };
  const untilTold = (isSo: () => Promise<unknown>, what: string) =>
    eventually(async () => Boolean(await isSo()), `${what}; FAULT_SEED=${seed}`);
  const [stays, ends, rolls] = [
    ['stay-1', 'stay-2'],
    ['end-1', 'end-2', 'end-3'],
    ['roll-1', 'roll-2', 'roll-3', 'roll-4', 'roll-5'],
  ];
  await using agent = await useAgent();
  const over = new AbortController();
  const storm = (async () => {
    while (!over.signal.aborted) {
      await setTimeout(50 + random() * 900);
      await agent.kill();
      agent.start();
    }
  })();
  for (const name of stays) await apply(name, podOf(name, [noted(name, forever)], always));
  for (const [index, name] of ends.entries())
    await apply(
      name,
      podOf(name, [noted(name, `sleep ${(random() * 6).toFixed(1)}; exit ${10 + index}`)], once),
    );
  await apply('loop', podOf('loop', [noted('loop', 'sleep 0.2; exit 7')], always));
  for (const name of rolls) {
    await apply(name, podOf(name, [noted(name, forever)], always));
    await setTimeout(500 + random() * 1500);
    await remove(name);
  }
  over.abort();
  await storm;
  for (const [index, name] of ends.entries()) {
    await untilTold(async () => (await phaseOf(name)) === 'Failed', `${name} has failed`);
    assert.deepEqual(
      [exitCodeOf(await podNamed(name)), await runsOf(name)],
      [10 + index, 1],
      `${name}, seed ${seed}`,
    );
  }
  for (const name of stays) {
    await untilTold(async () => isReady((await podNamed(name))?.status ?? {}), `${name} is ready`);
    const [only] = containersOf(await podNamed(name));
    assert.deepEqual([only?.restartCount, await runsOf(name)], [0, 1], `${name}, seed ${seed}`);
  }
  const loop = await eventually(async () => {
    const [only] = containersOf(await podNamed('loop'));
    return only?.state?.waiting?.reason === 'CrashLoopBackOff' ? only : undefined;
  }, `loop waits; FAULT_SEED=${seed}`);
  assert.deepEqual([loop.lastState?.terminated?.exitCode, loop.restartCount + 1], [7, await runsOf('loop')]);
  for (const name of rolls) {
    await untilTold(async () => (await podNamed(name)) === undefined, `${name} is gone`);
    assert.ok((await runsOf(name)) <= 1, `${name}, seed ${seed}`);
  }
  for (const name of [...stays, ...ends, 'loop']) await remove(name);
  await untilTold(async () => (await directories()).length === 0, 'all pods are gone');
  await noneTwice();
  assert.equal(await ofPods(), clean, `seed ${seed}`);
});
