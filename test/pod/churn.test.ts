// runs in a lab: bookworm +containernetworking-plugins +nftables
// Pods come and go, round after round, and nothing grows. SOAK=MINUTES SOAK_PODS=COUNT: for so long, with so many (`make soak`).
import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import { systemFiles } from '../../src/host/files.ts';
import { podsDirectory } from '../../src/names.ts';
import { knownPods } from '../../src/pod/worker/known.ts';
import { debianImage, eventually, type Fixture, useImages } from '../app/tools.ts';
import { apply, isReady, ofPods, podOf, remove, type TestAgent, useAgent } from './agent.ts';

const minutes = Number(process.env['SOAK'] ?? 0);
const count = Number(process.env['SOAK_PODS'] ?? 6);
const rounds = 4;

let images: Fixture;
let agent: TestAgent;

before(async () => {
  images = await useImages({ deb: debianImage() });
  agent = await useAgent();
});

after(async () => {
  await agent[Symbol.asyncDispose]();
  await images[Symbol.asyncDispose]();
});

const names = Array.from({ length: count }, (_, index) => `churn-${index}`);
const container = {
  name: 'main',
  image: 'localhost/images:deb',
  command: ['sh', '-c', 'trap "exit 0" TERM; sleep 1000 & wait'],
};

/** All come at once, and when the last is ready, all go at once. */
async function round(): Promise<void> {
  for (const name of names) await apply(name, podOf(name, [container]));
  await patiently(async () => {
    const pods = await knownPods(systemFiles);
    return pods.filter(({ pod }) => isReady(pod.status ?? {})).length === count;
  }, 'all are ready');
  for (const name of names) await remove(name);
  await patiently(async () => (await systemFiles.list(podsDirectory)).length === 0, 'all are gone');
}

/** Half a minute for each 50 pods. */
async function patiently(isSo: () => Promise<boolean>, what: string): Promise<void> {
  for (let patience = Math.ceil(count / 50); patience > 1; patience--)
    if (await eventually(isSo, what).catch(() => false)) return;
  await eventually(isSo, what);
}

/** What the agent has itself: descriptors, threads, inotify watches, and kilobytes of memory. */
async function ofAgent() {
  const at = `/proc/${agent.pid()}`;
  const descriptors = (await readdir(`${at}/fd`)).map(each =>
    readFile(`${at}/fdinfo/${each}`, 'latin1').catch(() => ''),
  );
  const watches = (await Promise.all(descriptors)).join('').split('inotify wd:').length - 1;
  const status = await readFile(`${at}/status`, 'latin1');
  const [threads, memory] = ['Threads', 'RssAnon'].map(key =>
    Number(new RegExp(`^${key}:\\s+(\\d+)`, 'm').exec(status)?.[1]),
  );
  return { descriptors: descriptors.length, watches, threads, memory: memory ?? 0 };
}

test('pods that come and go leave nothing on the host, and nothing in the agent', async () => {
  // The first rounds make what stays: the network, classes of service, compiled code, the heap.
  for (let warm = 0; warm < 2; warm++) await round();
  const [host, { memory, ...own }] = [await ofPods(), await ofAgent()];
  const end = Date.now() + minutes * 60_000;
  for (let number = 0; number < rounds || Date.now() < end; number++) await round();
  assert.equal(await ofPods(), host);
  const later = await ofAgent();
  assert.deepEqual({ ...later, memory: undefined }, { ...own, memory: undefined });
  // The collector lets a heap grow before it looks: that much is no growth.
  assert.ok(later.memory < memory + 40_000, `${memory} kB before, ${later.memory} kB after`);
});
