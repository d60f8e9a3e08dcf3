/** Rows of machines: clones, boots, commands in them; beside machinectl and plain systemd-nspawn. */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { machineUnit } from '../../src/machine/drop-in.ts';
import { basesDirectory, machinesDirectory } from '../../src/names.ts';
import { spawnlet } from './commands.ts';
import { memoryOf, processesOf } from './memory.ts';
import type { Setting } from './rows.ts';
import { interleave, type Subject, timed, timeOf } from './sampling.ts';
import { own, type Row } from './table.ts';

const run = (argv: readonly string[]) =>
  execFileSync(argv[0] ?? '', argv.slice(1), { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });

const base = 'bench';
const ready = 'bench-ready';

/** What a Debian of 500 MB has beside the minimal one that is at hand. */
const padding = 280;

/** A lab's own units are no part of Debian's. */
const plain = `#!/bin/sh
rm -f /etc/systemd/system/*.wants/spawnlet-lab-ready.service /etc/systemd/system/network-online.target.wants/*
`;

/** A base, and the same tree as a plain directory that nspawn and machinectl know. */
async function prepareTrees(): Promise<void> {
  if (spawnSync('test', ['-d', `${basesDirectory}/${base}`]).status === 0) return;
  const extra = '/tmp/bench-extra';
  await mkdir(extra, { recursive: true });
  for (let count = 0; count < padding; count++)
    await writeFile(`${extra}/${count}`, Buffer.alloc(1 << 20, count));
  await writeFile('/tmp/bench-plain', plain);
  const flags = ['--copy', `${extra}:/opt/extra`, '--run', '/tmp/bench-plain'];
  run(spawnlet('base', 'prepare', base, '--from', 'dir:/srv/tree', ...flags));
  run([
    'cp',
    '--archive',
    '--no-target-directory',
    `${basesDirectory}/${base}/tree`,
    `${machinesDirectory}/${ready}`,
  ]);
  await rm(extra, { recursive: true });
}

const create = (name: string, ...flags: readonly string[]) =>
  spawnlet('machine', 'create', name, '--from', `base:${base}`, '--network', 'none', ...flags);
const remove = (name: string) => run(spawnlet('machine', 'rm', '--force', name));

/** Does a thing that makes a machine, and removes that machine before the next. */
function making(
  name: string,
  argv: (machine: string) => readonly string[],
  undo: (machine: string) => void,
): Subject {
  let made = '';
  let count = 0;
  return {
    name,
    prepare: async () => {
      if (made !== '') undo(made);
      made = `bench-${name.replaceAll(/\W/g, '')}-${count++}`;
    },
    measure: () => timeOf(argv(made)),
  };
}

const removeTree = (machine: string) => void run(['rm', '-rf', `${machinesDirectory}/${machine}`]);

async function cloneRow({ quick, slow }: Setting): Promise<Row> {
  await prepareTrees();
  const samples = await interleave([making(own, create, remove)], quick, 1);
  const copies = await interleave(
    [making('machinectl clone', machine => ['machinectl', 'clone', ready, machine], removeTree)],
    slow,
    0,
  );
  return {
    work: 'a clone of a tree of 500 MB',
    unit: 'ms',
    targets: [{ kind: 'at most', value: 150 }],
    samples: new Map([...samples, ...copies]),
  };
}

/** systemd-nspawn as a unit that is up when the init in it says so, on a tree that is there. */
const plainNspawn = [
  'systemd-run',
  '--quiet',
  '--collect',
  '--unit=bench-nspawn',
  '--property=Type=notify',
  '--property=Delegate=yes',
  '--property=KillMode=mixed',
  'systemd-nspawn',
  '--quiet',
  '--keep-unit',
  '--boot',
  '--notify-ready=yes',
  '--private-network',
  '--link-journal=no',
  `--directory=${machinesDirectory}/${ready}`,
];

async function bootRow({ slow }: Setting): Promise<Row> {
  await prepareTrees();
  const nspawn: Subject = {
    name: 'systemd-nspawn -b',
    prepare: async () => {
      spawnSync('systemctl', ['stop', 'bench-nspawn']);
    },
    measure: () => timeOf(plainNspawn),
  };
  const ours = making(own, machine => create(machine, '--start'), remove);
  const samples = await interleave([ours, nspawn], slow, 1);
  spawnSync('systemctl', ['stop', 'bench-nspawn']);
  return {
    work: 'a clone that has booted to READY',
    unit: 'ms',
    targets: [{ kind: 'share of', peer: 'systemd-nspawn -b', value: 1.15 }],
    samples,
    notes: ['systemd-nspawn boots a tree that is there; spawnlet clones it first'],
  };
}

/** Bytes of a machine's processes, systemd-nspawn among them; each has its share of what it has with others. */
async function residentOf(machine: string): Promise<number> {
  const memories = await Promise.all((await processesOf(machineUnit(machine))).map(memoryOf));
  return memories.reduce((sum, { pss }) => sum + pss, 0);
}

/** What the doctor says of the instances of inotify, of which each machine takes six from all that root has. */
function inotifyFinding(): string {
  const [program = '', ...words] = spawnlet('doctor', '--output', 'json');
  const { stdout } = spawnSync(program, words, { encoding: 'utf8' });
  const found: readonly { readonly name: string; readonly finding: string }[] = JSON.parse(stdout);
  return found.find(({ name }) => name === 'inotify')?.finding ?? 'nothing';
}

async function twentyRow({ slow }: Setting): Promise<Row> {
  await prepareTrees();
  const names = Array.from({ length: 20 }, (_, index) => `bench-many-${index}`);
  const seconds: number[] = [];
  const each: number[] = [];
  const findings: string[] = [];
  for (let round = 0; round < Math.max(1, Math.ceil(slow / 5)); round++) {
    for (const name of names) run(create(name));
    // A machine that gets no instance may never be READY.
    const start = timeOf(['timeout', '60', ...spawnlet('machine', 'start', ...names)]);
    seconds.push((await start.catch(error => Promise.reject(lacking(error)))) / 1000);
    findings.push(inotifyFinding());
    each.push((await Promise.all(names.map(residentOf))).reduce((sum, size) => sum + size, 0) / 20e6);
    run(spawnlet('machine', 'rm', '--force', ...names));
  }
  return {
    work: '20 clones started together, until all are READY',
    unit: 's',
    targets: [{ kind: 'at most', value: 20 }],
    samples: new Map([[own, seconds]]),
    notes: [
      `resident of each, PSS (at most 30 MB): ${each.map(size => `${size.toFixed(1)} MB`).join(' ')}`,
      `what doctor finds of inotify while they run: ${findings.join('; ')}`,
    ],
  };
}

const lacking = (cause: unknown) =>
  new Error(`20 machines did not start; of inotify doctor finds: ${inotifyFinding()}`, { cause });

async function execRow({ quick }: Setting): Promise<Row> {
  await prepareTrees();
  const name = 'bench-exec';
  run(create(name, '--start'));
  const samples = await interleave(
    [
      timed(own, spawnlet('machine', 'exec', name, 'true')),
      timed('systemd-run --machine', [
        'systemd-run',
        '--quiet',
        '--wait',
        '--pipe',
        `--machine=${name}`,
        'true',
      ]),
    ],
    quick,
    2,
  );
  remove(name);
  return {
    work: '`machine exec NAME true`',
    unit: 'ms',
    targets: [{ kind: 'at most', value: 120 }],
    samples,
  };
}

async function listRow({ quick }: Setting): Promise<Row> {
  await prepareTrees();
  const names = Array.from({ length: 50 }, (_, index) => `bench-list-${index}`);
  for (const name of names) run(create(name));
  const samples = await interleave(
    [timed(own, spawnlet('machine', 'ls')), timed('machinectl list-images', ['machinectl', 'list-images'])],
    quick,
    1,
  );
  run(spawnlet('machine', 'rm', '--force', ...names));
  return {
    work: '`machine ls` with 50 machines',
    unit: 'ms',
    targets: [{ kind: 'at most', value: 150 }],
    samples,
  };
}

/** By the names that `ROWS=` takes, in the order of the table. */
export const machineRows: Readonly<Record<string, (setting: Setting) => Promise<Row>>> = {
  clone: cloneRow,
  boot: bootRow,
  twenty: twentyRow,
  exec: execRow,
  list: listRow,
};
