// runs in a lab: bookworm +containernetworking-plugins +nftables
// What pods run under is started anew, systemd, the bus, journald, the agent by another version; pods take no notice.
import assert from 'node:assert/strict';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { Pod } from '../../src/pod/api/kubernetes.ts';
import { debianImage, done, eventually, type Fixture, system, useImages } from '../app/tools.ts';
import { checkout } from '../harness/lab.ts';
import { apply, isReady, manifests, podNamed, podOf, pods, remove, until } from './agent.ts';

const agent = 'spawnlet-kubelet.service';
const image = 'localhost/images:box';
const forever = 'trap "exit 0" TERM; sleep 1000 & wait';
const container = (name: string, script: string) => ({ name, image, command: ['sh', '-c', script] });
const names = ['one', 'two', 'three', 'four'];

let images: Fixture;

before(async () => {
  images = await useImages({ box: debianImage() });
  await mkdir(manifests, { recursive: true });
  await done(['kubelet', 'install']);
  for (const name of names) await apply(name, podOf(name, [container('main', `echo begun; ${forever}`)]));
  for (const name of names) await until(name, 'is ready', isReady);
});

after(async () => {
  await rm(manifests, { recursive: true });
  await mkdir(manifests);
  await eventually(async () => (await pods()).length === 0, 'all pods go');
  await done(['kubelet', 'uninstall']);
  await images[Symbol.asyncDispose]();
});

const runsOf = async () =>
  (await pods())
    .filter(({ metadata }) => names.includes(metadata?.name ?? ''))
    .map(({ metadata, status }: Pod) => [
      metadata?.name,
      ...(status?.containerStatuses ?? []).map(({ containerID, restartCount, ready }) => [
        containerID,
        restartCount,
        ready,
      ]),
    ]);

const agentRun = () => system('systemctl', 'show', '-P', 'InvocationID', '-P', 'NRestarts', agent);

/** A pod that comes, runs, fails with its own code and goes: all of an agent's work. */
async function isAtWork(): Promise<void> {
  const code = 3;
  await apply(
    'short',
    podOf('short', [container('main', `echo said; exit ${code}`)], { restartPolicy: 'Never' }),
  );
  const { status } = await until('short', 'has failed', ({ phase }) => phase === 'Failed');
  assert.equal(status?.containerStatuses?.[0]?.state?.terminated?.exitCode, code);
  await eventually(
    async () => (await done(['pod', 'logs', 'short'])) === 'said\n' || undefined,
    'its log is there',
  );
  await remove('short');
  await eventually(async () => (await podNamed('short')) === undefined, 'the pod is gone');
}

describe('containers run on, and the agent works on', () => {
  for (const [what, ...command] of [
    ['systemd executes itself anew', 'systemctl', 'daemon-reexec'],
    ['the bus is restarted', 'systemctl', 'restart', 'dbus.service'],
    ['journald is restarted', 'systemctl', 'restart', 'systemd-journald.service'],
    ['the journald of containers is restarted', 'systemctl', 'restart', 'systemd-journald@spawnlet.service'],
  ] as const)
    test(`when ${what}`, async () => {
      const [runs, own] = [await runsOf(), await agentRun()];
      await system(...command);
      await isAtWork();
      assert.deepEqual(await runsOf(), runs);
      assert.equal(await agentRun(), own);
    });
});

test('another version of spawnlet takes over pods that run, and their later ends', async () => {
  const other = '/srv/other';
  await mkdir(other);
  await system('cp', '-r', join(checkout, 'dist'), join(checkout, 'bin'), other);
  await system('ln', '-s', join(checkout, 'node_modules'), `${other}/node_modules`);
  const { version } = JSON.parse(await readFile(join(checkout, 'package.json'), 'utf8')) as {
    version: string;
  };
  for (const file of (await system('grep', '-rlF', `"${version}"`, `${other}/dist`)).trim().split('\n'))
    await writeFile(file, (await readFile(file, 'utf8')).replaceAll(`"${version}"`, '"99.0.0"'));
  const program = `${other}/bin/spawnlet`;
  assert.match(await system(program, 'version'), /99\.0\.0/);
  const [runs, own] = [await runsOf(), await agentRun()];
  await system(program, 'kubelet', 'install');
  assert.notEqual(await agentRun(), own);
  await isAtWork();
  assert.deepEqual(await runsOf(), runs);
  const [, before] = (await agentRun()).split('\n');
  await system(program, 'kubelet', 'install');
  assert.equal((await agentRun()).split('\n')[1], before);
  await system('systemctl', 'kill', '--signal=KILL', `pod-default-one-main-*.service`);
  const { status } = await until('one', 'runs again', ({ containerStatuses: [only] = [] }) => {
    return only?.restartCount === 1 && only.state?.running !== undefined;
  });
  assert.equal(status?.containerStatuses?.[0]?.lastState?.terminated?.exitCode, 137);
});
