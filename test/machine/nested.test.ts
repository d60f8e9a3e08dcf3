// runs in a lab: bookworm trixie +containerd
// Containers in a machine: by Debian's containerd, as its own client tells it; and what the doctor says of it.
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import type { Diagnosis } from '../../src/app/doctor/diagnosis.ts';
import { done, staticProgram } from '../app/tools.ts';
import { layoutArchive, makeImage } from '../harness/images.ts';
import { create, inside, machine, useBase } from './machines.ts';

const image = 'example.org/program:1';
const archive = '/var/lib/spawnlet/program.tar';
let base: AsyncDisposable;

before(async () => {
  base = await useBase();
  const layer = [{ path: 'program', content: staticProgram(), mode: 0o755 }];
  await writeFile(archive, layoutArchive({ [image]: makeImage({ layers: [layer] }) }));
});

after(async () => {
  await base[Symbol.asyncDispose]();
});

/**
 * What a container says that containerd runs in a machine. Without a share of the processors: where controllers are cgroup v1's
 * the machine has none of them.
 */
async function container(name: string, snapshotter: string): Promise<string> {
  await machine('cp', archive, `${name}:/root/program.tar`);
  await inside(name, 'ctr', 'image', 'import', '--snapshotter', snapshotter, '/root/program.tar');
  const run = ['ctr', 'run', '--rm', '--cpu-shares', '0', '--snapshotter', snapshotter];
  return inside(name, ...run, image, `try-${snapshotter}`, '/program', '--version');
}

const asked = async (name: string) => {
  const rows = JSON.parse(await done(['doctor', '--machine', name, '-o', 'json'])) as Diagnosis[];
  return new Map(rows.map(row => [row.name, row]));
};

test('containerd runs a container in a nested machine', async () => {
  await create('real', '--profile', 'nested', '--start');
  assert.match(await container('real', 'overlayfs'), /^ldconfig /);
  const rows = await asked('real');
  for (const name of ['keyrings', 'bpf', 'cgroups', 'stores', 'network settings', 'kernel log'])
    assert.deepEqual(rows.get(name)?.finding, 'allowed: tried in the machine', name);
});

test('in a default machine it cannot; with the lines that the doctor names it can', async () => {
  await create('plain', '--start');
  await assert.rejects(container('plain', 'overlayfs'), /failed to mount .*: invalid argument/);
  await assert.rejects(container('plain', 'native'), /read-only file system|operation not permitted/);

  const rows = await asked('plain');
  const fixes = ['keyrings', 'bpf', 'stores', 'kernel log'].map(name => rows.get(name)?.fix ?? name);
  for (const fix of fixes) assert.match(fix, /^profile nested: \[/);
  assert.match(fixes[0] ?? '', /\[Exec\] SystemCallFilter=@keyring bpf/);
  assert.match(
    rows.get('perf events')?.fix ?? '',
    /^profile ebpf: \[Exec\] SystemCallFilter=.*perf_event_open/,
  );

  await machine('set', 'plain', 'profiles=nested');
  assert.equal((await asked('plain')).get('keyrings')?.fix, 'spawnlet machine restart plain');
  await machine('restart', 'plain');
  assert.match(await container('plain', 'overlayfs'), /^ldconfig /);
});

test('a machine that does not run is judged by its profiles', async () => {
  await create('asleep', '--profile', 'nested');
  const rows = await asked('asleep');
  assert.equal(rows.get('keyrings')?.verdict, 'ok');
  assert.match(rows.get('keyrings')?.finding ?? '', /not tried: it does not run/);
  assert.match(rows.get('perf events')?.finding ?? '', /^its profiles do not allow it/);
});

test('the doctor leaves a machine as it was', async () => {
  const world = () =>
    inside('real', 'sh', '-c', 'ls /dev /tmp /root; systemctl --failed --plain --no-legend');
  const was = await world();
  await asked('real');
  assert.equal(await world(), was);
});
