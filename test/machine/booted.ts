/** Machines for tests of their files: clones of the lab's own tree, made of what the room renders and started by systemctl alone. */
import { mkdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { systemChildren } from '../../src/host/child.ts';
import { systemFiles } from '../../src/host/files.ts';
import { machineUnit, serviceDropIn } from '../../src/machine/drop-in.ts';
import { hostFacts } from '../../src/machine/host-facts.ts';
import type { MachineFacts } from '../../src/machine/lines.ts';
import { mountUnit, mountUnitName } from '../../src/machine/mount-unit.ts';
import { nspawnFile } from '../../src/machine/nspawn-file.ts';
import { runtimeStores } from '../../src/machine/profiles.ts';
import type { MachineSpec } from '../../src/machine/spec.ts';
import {
  basesDirectory,
  machineStateDirectory,
  machinesDirectory,
  nspawnSettings,
  persistentUnits,
} from '../../src/names.ts';
import { system } from '../app/tools.ts';
import { linesOf, plainSpec } from '../harness/machine-spec.ts';

export interface Booted extends AsyncDisposable {
  readonly name: string;
  readonly spec: MachineSpec;
  readonly tree: string;
  readonly unit: string;
  /** PID of its init. */
  readonly leader: string;
  /** What `systemd-analyze verify` says of its units. */
  readonly verdict: string;
  /** Runs a program in it, by its own systemd: its output. One that fails is an error. */
  inside(...argv: readonly string[]): Promise<string>;
  /** A file of the cgroup that the unit has, in the hierarchy of a controller. */
  cgroup(controller: string, file: string): Promise<string>;
}

const base = `${basesDirectory}/lab/tree`;

/** The lab's own root, without what is mounted on it. */
async function useBase(): Promise<void> {
  await mkdir(base, { recursive: true });
  const { code } = await systemChildren.capture(['mountpoint', '-q', base]);
  if (code !== 0) await system('mount', '--bind', '/', base);
}

async function put(path: string, text: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, text);
}

let count = 0;

/**
 * Boots a machine, on an overlay unless its tree is to be plain; without a network unless the spec has one. `fill` is
 * given the tree before the machine starts.
 */
export async function boot(
  parts: Partial<MachineSpec>,
  more: Partial<MachineFacts> = {},
  fill: (spec: MachineSpec, tree: string) => Promise<void> = async () => undefined,
): Promise<Booted> {
  await useBase();
  const name = `files-${process.pid}-${++count}`;
  const spec: MachineSpec = { ...plainSpec, name, ...parts };
  const facts: MachineFacts = {
    users: { kind: 'no' },
    tree: { kind: 'overlay' },
    ready: 'notify',
    host: await hostFacts(systemFiles, spec.profiles),
    after: [],
    kept: [],
    ...more,
  };
  const state = `${machineStateDirectory}/${name}`;
  const isOverlay = facts.tree.kind === 'overlay';
  const tree = `${machinesDirectory}/${name}`;
  const [upper, work, unit] = [isOverlay ? `${state}/upper` : tree, `${state}/work`, machineUnit(name)];
  await mkdir(work, { recursive: true });
  if (!isOverlay) await system('cp', '-a', '--one-file-system', base, tree);
  await put(`${upper}/etc/machine-id`, `${Buffer.from(name).toString('hex').padEnd(32, '0').slice(-32)}\n`);
  await put(`${upper}/etc/hostname`, `${name}\n`);
  await mkdir(`${upper}/etc/systemd/system`, { recursive: true });
  // The lab's own unit, which tells the host that it is up.
  await rm(`${upper}/etc/systemd/system/spawnlet-lab-ready.service`, { force: true });
  await symlink('/dev/null', `${upper}/etc/systemd/system/spawnlet-lab-ready.service`);
  for (const { source } of runtimeStores(name)) await mkdir(source, { recursive: true });
  const files = {
    [`${nspawnSettings}/${name}.nspawn`]: nspawnFile(spec, linesOf(spec), facts),
    [`${persistentUnits}/${unit}.d/50-spawnlet.conf`]: serviceDropIn(spec, linesOf(spec), facts),
    ...(isOverlay && {
      [`${persistentUnits}/${mountUnitName(name)}`]: mountUnit(name, { lower: [base], upper, work }),
    }),
  };
  for (const [path, text] of Object.entries(files)) await put(path, text);

  const close = async () => {
    await systemChildren.capture(['systemctl', 'stop', unit]);
    await systemChildren.capture(['systemctl', 'stop', mountUnitName(name)]);
    for (const path of Object.keys(files)) await rm(path);
    await rm(state, { recursive: true });
    await rm(tree, { recursive: true });
  };
  const verify = await systemChildren.capture([
    'systemd-analyze',
    'verify',
    '--man=no',
    unit,
    ...(isOverlay ? [`${persistentUnits}/${mountUnitName(name)}`] : []),
  ]);
  try {
    if (isOverlay) await system('systemctl', 'start', mountUnitName(name));
    await fill(spec, tree);
    await system('systemctl', 'start', unit);
    const main = (await system('systemctl', 'show', '-P', 'MainPID', unit)).trim();
    const children = await readFile(`/proc/${main}/task/${main}/children`, 'latin1');
    const group = (await system('systemctl', 'show', '-P', 'ControlGroup', unit)).trim();
    return {
      name,
      spec,
      tree,
      unit,
      leader: children.split(' ')[0] ?? '',
      verdict: verify.stdout.toString() + verify.stderr,
      inside: (...argv) => system('systemd-run', '--quiet', '--wait', '--pipe', '-M', name, ...argv),
      cgroup: async (controller, file) =>
        (await readFile(`/sys/fs/cgroup/${controller}${group}/${file}`, 'latin1')).trim(),
      [Symbol.asyncDispose]: close,
    };
  } catch (error) {
    const log = (await systemChildren.capture(['journalctl', '--no-pager', '-n30', '-u', unit])).stdout;
    await close();
    throw new Error(`${unit} did not start: ${log.toString()}`, { cause: error });
  }
}
