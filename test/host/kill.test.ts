// runs in a lab
// The command itself, killed at any instant: the next one undoes or finishes what it was about.
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { after, before, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { ended } from '../../src/host/child.ts';
import { debianImage, debianLayer, done, type Fixture, spawnlet, useImages, words } from '../app/tools.ts';
import { makeImage } from '../harness/images.ts';
import { difference, settledDifference, traces } from './traces.ts';

/** How many kills, and what decides when: `FAULTS=1000 FAULT_SEED=7 node test/run.ts test/host/kill.test.ts`. */
const wanted = Number(process.env['FAULTS'] ?? 200);
const seed = Number(process.env['FAULT_SEED'] ?? randomBytes(4).readUInt32LE());

/** Mulberry32: a number of [0, 1) at each call, the same ones for the same seed. */
function numbers(from: number): () => number {
  let state = from;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

let images: Fixture;
const big = 'localhost/images:big';

/** What keeps running under the container's own name, so that its process can be told from others. */
const stay = (name: string) => ['bash', '-c', `exec -a ${name} sleep 1000`];

interface Victim {
  readonly name: string;
  readonly argv: () => readonly string[];
  /** Whether a container of this name has to be there and run. */
  readonly needs?: 'a container';
}

/** Two of each kind at once: less waiting, and they meet each other. */
const victims: readonly Victim[] = [
  ...['1', '2'].flatMap((number): Victim[] => {
    const [detached, rm, foreground] = [`vdetached${number}`, `vrm${number}`, `vforeground${number}`];
    const [removed, stopped] = [`vremoved${number}`, `vstopped${number}`];
    const image = () => images.ref('deb');
    const short = ['bash', '-c', `exec -a ${foreground} sleep 0.1`];
    return [
      { name: detached, argv: () => ['run', '-d', '--name', detached, image(), ...stay(detached)] },
      { name: rm, argv: () => ['run', '--rm', '--name', rm, image(), 'echo', 'said'] },
      { name: foreground, argv: () => ['run', '--name', foreground, image(), ...short] },
      { name: removed, needs: 'a container', argv: () => ['rm', '-f', removed] },
      { name: stopped, needs: 'a container', argv: () => ['stop', stopped] },
    ];
  }),
  { name: 'big', argv: () => ['image', 'pull', images.ref('big')] },
];

before(async () => {
  images = await useImages({
    deb: debianImage(),
    big: makeImage({
      layers: [
        debianLayer(),
        ...['a', 'b'].map(name => [{ path: name, content: randomBytes(4 << 20) }]),
        [{ path: 'etc/hostname', content: '' }],
      ],
    }),
  });
  await done(['image', 'rm', big]);
});

after(() => images[Symbol.asyncDispose]());

const start = (victim: Victim): ChildProcess => {
  const [program = '', ...args] = words(...victim.argv());
  return spawn(program, args, { stdio: ['ignore', 'ignore', 'pipe'] });
};

async function prepare(): Promise<void> {
  const needed = victims.filter(victim => victim.needs);
  // A program that is PID 1 and handles no signal would be waited for.
  const flags = ['run', '-d', '--stop-signal', 'KILL', '--name'];
  await Promise.all(needed.map(({ name }) => done([...flags, name, images.ref('deb'), ...stay(name)])));
}

/** Removes what is there in whole: containers and the image. */
async function takeAway(): Promise<void> {
  await done(['rm', '--all', '--force']);
  const { code } = await spawnlet(['image', 'inspect', big]);
  if (code === 0) await done(['image', 'rm', big]);
}

/** Milliseconds that each command takes when nobody kills it and the others run beside it. */
async function durations(): Promise<Map<Victim, number>> {
  await prepare();
  const found = new Map<Victim, number>();
  await Promise.all(
    victims.map(async victim => {
      const begin = performance.now();
      const child = start(victim);
      child.stderr?.resume();
      assert.equal(await ended(child), 0, victim.name);
      found.set(victim, performance.now() - begin);
    }),
  );
  await takeAway();
  return found;
}

/** True if it was killed, not faster than its killer. */
async function kill(victim: Victim, instant: number): Promise<boolean> {
  const child = start(victim);
  child.stderr?.resume();
  const end = ended(child);
  const late = new AbortController();
  const timer = pause(instant, undefined, { signal: late.signal }).then(
    () => child.kill('SIGKILL'),
    () => false,
  );
  await end;
  late.abort();
  await timer;
  return child.signalCode === 'SIGKILL';
}

test(`${wanted} kills at random instants leave nothing half done (FAULT_SEED=${seed})`, async t => {
  const random = numbers(seed);
  await durations();
  const clean = await traces();
  const usual = await durations();
  assert.deepEqual(await settledDifference(clean), [], 'nothing is left when nobody kills');
  let kills = 0;
  let recovered = 0;
  for (let round = 1; kills < wanted; round++) {
    await prepare();
    const instants = victims.map(victim => Math.round(random() * 1.05 * (usual.get(victim) ?? 0)));
    const hits = await Promise.all(victims.map((victim, index) => kill(victim, instants[index] ?? 0)));
    kills += hits.filter(Boolean).length;
    const what = victims.map(
      (victim, index) => `${victim.name} after ${instants[index]} ms (${hits[index] ? 'killed' : 'ended'})`,
    );
    const at = `FAULT_SEED=${seed}, round ${round}: ${what.join(', ')}`;

    const next = await spawnlet(['ps', '-a']);
    assert.equal(next.code, 0, `${at}\n${next.err}`);
    recovered += next.err.split('\n').length - 1;
    const there = victims.map(({ name }) => name).filter(name => new RegExp(`^${name} `, 'm').test(next.out));
    const { code: noImage } = await spawnlet(['image', 'inspect', big]);
    const own = new RegExp(
      `\\b(${[...there, ...(noImage ? [] : ['l', 'layers', 'blobs', 'index.json'])].join('|')})\\b`,
    );
    const isOwn = (line: string) => (there.length > 0 || noImage === 0) && own.test(line);
    // A container that ends on its own (its run was killed before it had attached) takes a moment.
    const strange = difference(clean, await traces()).filter(line => !isOwn(line));
    if (strange.length > 0)
      assert.deepEqual(
        (await settledDifference(clean)).filter(line => !isOwn(line)),
        [],
        `${at}\nthe next command has left`,
      );

    await takeAway();
    assert.deepEqual(await settledDifference(clean), [], `${at}\nafter what was whole is removed`);
  }
  t.diagnostic(`${kills} kills, ${recovered} plans recovered by the next command`);
});
