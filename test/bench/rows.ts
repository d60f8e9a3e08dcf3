/** The rows of the table: what is done, by whom, and what is to be reached. */
import { execFileSync } from 'node:child_process';
import { readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { setTimeout } from 'node:timers/promises';

import { appsDirectory, runtimeDirectory, transientUnits } from '../../src/names.ts';
import { SystemdClient } from '../../src/systemd/client.ts';
import { busyboxImage } from '../harness/images.ts';
import type { TestRegistry } from '../harness/registry.ts';
import {
  emptyPeers,
  emptyStore,
  freshStores,
  node,
  podman,
  podmanPull,
  podmanRunFlags,
  skopeoAndUmoci,
  spawnlet,
  spawnletPull,
} from './commands.ts';
import { makeHugeImage, makeLargeImage } from './large-image.ts';
import { isRunning, memoryOf, type Peak, peakOf, processesOf } from './memory.ts';
import { interleave, median, timed, timeOf } from './sampling.ts';
import { own, type Row } from './table.ts';

export interface Setting {
  readonly registry: TestRegistry;
  readonly signal: AbortSignal;
  /** How many samples of quick work, and of work that takes seconds. */
  readonly quick: number;
  readonly slow: number;
}

const run = (argv: readonly string[]) =>
  execFileSync(argv[0] ?? '', argv.slice(1), { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });

/** Puts a small image where spawnlet and podman run it from. */
async function smallImage({ registry }: Setting): Promise<string> {
  const reference = await registry.push('bench/busybox:1', await busyboxImage());
  for (const argv of [spawnletPull(reference), podmanPull(reference)]) run(argv);
  return reference;
}

/** Waits until what the sample before has left to end has ended: containers' units, conmon's own clean-up. */
async function settle(signal: AbortSignal): Promise<void> {
  const deadline = AbortSignal.any([signal, AbortSignal.timeout(10_000)]);
  while ((await readdir(appsDirectory)).length > 0 || (await isRunning(['conmon', 'crun', 'podman'])))
    await setTimeout(10, undefined, { signal: deadline });
}

async function runRow(setting: Setting): Promise<Row> {
  const image = await smallImage(setting);
  const ours = spawnlet('run', '--rm', '--network=host', image);
  const theirs = podman('run', '--rm', ...podmanRunFlags, image);
  for (const argv of [ours, theirs]) {
    // A peer that cannot run fails fast: it has to show that it runs the image's program.
    const said = run([...argv, '/bin/sh', '-c', 'echo $$ $0 && test -x /bin/busybox']);
    if (!said.startsWith('1 ')) throw new Error(`${argv.join(' ')} said ${said}`);
  }
  const samples = await interleave(
    [
      timed(own, [...ours, '/bin/true']),
      timed('podman', [...theirs, '/bin/true']),
      timed('systemd-run', ['systemd-run', '--wait', '--pipe', '--quiet', '--collect', '/bin/true']),
    ].map(subject => ({ ...subject, prepare: () => settle(setting.signal) })),
    setting.quick,
    2,
  );
  return {
    work: '`run --rm` of `/bin/true`, image present, the host’s network',
    unit: 'ms',
    targets: [{ kind: 'share of', peer: 'podman', value: 0.85 }],
    samples,
  };
}

/** What the bridge adds: a namespace, a link, addresses of both families, a name, and a port that is published. */
async function bridgeRow(setting: Setting): Promise<Row> {
  const image = await smallImage(setting);
  const subject = (name: string, ...flags: readonly string[]) => ({
    ...timed(name, [...spawnlet('run', '--rm', ...flags, image), '/bin/true']),
    prepare: () => settle(setting.signal),
  });
  const samples = await interleave(
    [
      subject(own),
      subject(`${own} -p 8080:80`, '-p', '8080:80'),
      subject(`${own} --network host`, '--network=host'),
    ],
    setting.quick,
    2,
  );
  return {
    work: '`run --rm` of `/bin/true` on the bridge',
    unit: 'ms',
    targets: [{ kind: 'share of', peer: `${own} --network host`, value: 1.3 }],
    samples,
  };
}

async function unitRow(setting: Setting): Promise<Row> {
  const { signal, quick } = setting;
  const image = await smallImage(setting);
  await timeOf(spawnlet('run', '--network=host', '--name', 'bench-unit', image, '/bin/true'));
  const plain = `${transientUnits}/bench-plain.service`;
  await writeFile(plain, '[Service]\nExecStart=/bin/true\n');
  await using client = await SystemdClient.connect({ signal });
  const start = (unit: string) => async () => {
    const begin = performance.now();
    const { Result, ExecMainCode } = await client.runUnit(unit, 'fail', signal);
    const end = performance.now();
    if (Result !== 'success' || ExecMainCode !== 1) throw new Error(`${unit} ended with ${Result}`);
    return end - begin;
  };
  const samples = await interleave(
    [
      { name: own, measure: start('bench-unit.service') },
      { name: 'plain unit', measure: start('bench-plain.service') },
    ],
    quick,
    2,
  );
  run(spawnlet('rm', 'bench-unit'));
  await rm(plain);
  return {
    work: 'the unit alone, StartUnit to inactive, without the CLI',
    unit: 'ms',
    targets: [{ kind: 'at most', value: 90 }],
    samples,
  };
}

async function pullRow(setting: Setting): Promise<Row> {
  const { image, summary } = await makeLargeImage();
  const reference = await setting.registry.push('bench/large:1', image);
  let stores: AsyncDisposable | undefined;
  const prepare = async () => {
    await stores?.[Symbol.asyncDispose]();
    stores = await freshStores();
  };
  const subject = (name: string, work: () => Promise<number>) => ({
    name,
    prepare,
    measure: async () => (await work()) / 1000,
  });
  const samples = await interleave(
    [
      subject(own, () => timeOf(spawnletPull(reference))),
      subject('podman', () => timeOf(podmanPull(reference))),
      subject('skopeo+umoci', () => skopeoAndUmoci(reference)),
    ],
    setting.slow,
    0,
  );
  await stores?.[Symbol.asyncDispose]();
  return {
    work: 'pull and unpack, until it can run',
    unit: 's',
    targets: [
      { kind: 'share of', peer: 'podman', value: 0.5 },
      { kind: 'share of', peer: 'skopeo+umoci', value: 0.6 },
    ],
    samples,
    notes: [`the image: ${summary}`],
  };
}

async function againRow(setting: Setting): Promise<Row> {
  const image = await smallImage(setting);
  const samples = await interleave(
    [timed(own, spawnletPull(image)), timed('podman', podmanPull(image))],
    setting.quick,
    1,
  );
  return {
    work: 'pull again, unchanged',
    unit: 'ms',
    targets: [{ kind: 'at most', value: 150 }],
    samples,
  };
}

async function memoryRow(setting: Setting): Promise<Row> {
  const { image, summary } = await makeHugeImage();
  const reference = await setting.registry.push('bench/huge:1', image);
  const peaks: Peak[] = [];
  const peak = async (argv: readonly string[]) => {
    const found = await peakOf(argv);
    if (argv[0] !== 'podman') peaks.push(found);
    return found.all / 1e6;
  };
  const samples = await interleave(
    [
      { name: own, prepare: emptyStore, measure: () => peak(spawnletPull(reference)) },
      { name: 'podman', prepare: emptyPeers, measure: () => peak(podmanPull(reference)) },
    ],
    Math.max(1, Math.ceil(setting.slow / 3)),
    0,
  );
  await emptyStore();
  await emptyPeers();
  return {
    work: 'private memory while pulling 1 GB, children included',
    unit: 'MB',
    targets: [{ kind: 'at most', value: 60 }],
    samples,
    notes: [
      `the image: ${summary}`,
      `the command without its children: ${peaks.map(({ own }) => `${(own / 1e6).toFixed(1)} MB`).join(' ')}`,
    ],
  };
}

/** PSS of what stays for a container beside its own program. MB. What started it takes a moment to go. */
async function residentOf(name: string, signal: AbortSignal): Promise<number> {
  const unit = `${name}.service`;
  const payload = Number(await readFile(`${runtimeDirectory}/app/${name}/pid`, 'utf8'));
  const others = async () => (await processesOf(unit)).filter(pid => pid !== payload);
  const settled = AbortSignal.any([signal, AbortSignal.timeout(5000)]);
  let pids = await others();
  while (pids.length > 1) {
    await setTimeout(20, undefined, { signal: settled });
    pids = await others();
  }
  if (pids.length === 0) throw new Error(`nothing but its program stays of ${name}`);
  const memories = await Promise.all(pids.map(memoryOf));
  return memories.reduce((sum, { pss }) => sum + pss, 0) / 1e6;
}

async function residentRow(setting: Setting): Promise<Row> {
  const image = await smallImage(setting);
  const names = Array.from({ length: 10 }, (_, index) => `bench-resident-${index}`);
  const alone: number[] = [];
  const theirs: number[] = [];
  for (const name of names) {
    run(spawnlet('run', '--network=host', '--detach', '--name', name, image, '/bin/sleep', '1000'));
    alone.push(await residentOf(name, setting.signal));
    run(spawnlet('rm', '--force', name));
    run(podman('run', '--detach', '--name', name, ...podmanRunFlags, image, '/bin/sleep', '1000'));
    const conmon = run(podman('inspect', '--format={{.State.ConmonPid}}', name));
    theirs.push((await memoryOf(Number(conmon))).pss / 1e6);
    run(podman('rm', '--force', '--time=0', name));
  }
  for (const name of names)
    run(spawnlet('run', '--network=host', '--detach', '--name', name, image, '/bin/sleep', '1000'));
  const together = await Promise.all(names.map(name => residentOf(name, setting.signal)));
  for (const name of names) run(spawnlet('rm', '--force', name));
  return {
    work: 'resident cost of a running container that runs alone, PSS',
    unit: 'MB',
    targets: [{ kind: 'at most', value: 2 }],
    samples: new Map([
      [own, alone],
      ['podman', theirs],
    ]),
    notes: [`each of ten that run together: ${median(together).toFixed(2)} MB`],
  };
}

async function versionRow({ quick }: Setting): Promise<Row> {
  const samples = await interleave(
    [timed(own, spawnlet('version')), timed('node -e 0', [node, '-e', '0'])],
    quick,
    2,
  );
  return {
    work: '`spawnlet version`',
    unit: 'ms',
    targets: [{ kind: 'share of', peer: 'node -e 0', value: 1.5 }],
    samples,
  };
}

/** By the names that `ROWS=` takes, in the order of the table. */
export const rows: Readonly<Record<string, (setting: Setting) => Promise<Row>>> = {
  run: runRow,
  bridge: bridgeRow,
  unit: unitRow,
  pull: pullRow,
  again: againRow,
  memory: memoryRow,
  resident: residentRow,
  version: versionRow,
};
