import { readdir, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '../host/clock.ts';
import { isErrno, SpawnletError } from '../host/error.ts';
import type { Files } from '../host/files.ts';
import type { Executor } from '../host/step.ts';
import type { LabSpec } from './spec.ts';

/** One mounted tree of cgroups: of v1 there is one for each controller or few, of v2 there is one. */
export interface Hierarchy {
  readonly path: string;
  readonly version: 1 | 2;
  /** `memory`, `cpu`, … or `name=systemd`; empty for v2, whose controllers are read from a file. */
  readonly controllers: readonly string[];
}

export interface MakeCgroups {
  readonly do: 'make-cgroups';
  readonly name: string;
  readonly hierarchies: readonly Hierarchy[];
  readonly memory: number | null;
  readonly cpuPercent: number | null;
}

/** The writable hierarchies in the text of /proc/self/mountinfo. */
export function parseHierarchies(mountinfo: string): Hierarchy[] {
  const found = new Map<string, Hierarchy>();
  for (const line of mountinfo.split('\n')) {
    const [mount = '', filesystem = ''] = line.split(' - ');
    const [, , , , path = '', options = ''] = mount.split(' ');
    const [type, , superOptions = ''] = filesystem.split(' ');
    if ((type !== 'cgroup' && type !== 'cgroup2') || options.split(',').includes('ro')) continue;
    const controllers = superOptions
      .split(',')
      .filter(
        option =>
          type === 'cgroup' &&
          option !== '' &&
          !['rw', 'ro', 'xattr', 'clone_children', 'noprefix'].includes(option) &&
          !option.startsWith('release_agent='),
      );
    found.set(path, { path, version: type === 'cgroup' ? 1 : 2, controllers });
  }
  return [...found.values()];
}

export const cgroupName = (lab: string) => `spawnlet-lab-${lab}`;

/** Leaves of the lab's cgroup, since v2 allows processes in leaves only: the boot script, and nspawn with its machine. */
export const bootLeaf = 'boot';
export const machineLeaf = 'machine';

const v2Controllers = ['cpu', 'cpuset', 'io', 'memory', 'pids'];

/** What is written into the lab's directory of a hierarchy: file name and text. */
export function limitFiles(
  hierarchy: Hierarchy,
  limits: Pick<LabSpec, 'memory' | 'cpuPercent'>,
): [string, string][] {
  const period = 100_000;
  const rows: [string, string][] = [];
  const has = (controller: string) =>
    hierarchy.version === 2 ? true : hierarchy.controllers.includes(controller);
  if (limits.memory !== null && has('memory'))
    rows.push([hierarchy.version === 2 ? 'memory.max' : 'memory.limit_in_bytes', String(limits.memory)]);
  if (limits.cpuPercent !== null && has('cpu')) {
    const quota = limits.cpuPercent * (period / 100);
    rows.push(
      hierarchy.version === 2 ? ['cpu.max', `${quota} ${period}`] : ['cpu.cfs_quota_us', String(quota)],
    );
  }
  return rows;
}

/** A hybrid host's v2 tree is without controllers: limits belong into v1 there. */
function takesLimits(hierarchy: Hierarchy, all: readonly Hierarchy[]): boolean {
  return hierarchy.version === 1 || !all.some(other => other.version === 1);
}

/** Executor of `make-cgroups`: a cgroup of the lab's own in every hierarchy, with its limits. */
export function makeCgroupsExecutor(files: Files, clock: Clock): Executor<MakeCgroups> {
  const directory = (step: MakeCgroups, hierarchy: Hierarchy) => join(hierarchy.path, cgroupName(step.name));

  async function enableControllers(root: string): Promise<void> {
    for (const controller of v2Controllers) {
      try {
        await files.append(join(root, 'cgroup.subtree_control'), `+${controller}`, 0o644);
      } catch (error) {
        // A controller that this host has not, or processes beside the lab's cgroup: its limits are refused below.
        if (!isErrno(error, 'EINVAL', 'ENOENT', 'EBUSY', 'EOPNOTSUPP')) throw error;
      }
    }
  }

  /** A v1 cpuset is born empty and takes no process until it is filled; those below it copy it. */
  async function fillCpuset(own: string): Promise<void> {
    for (const name of ['cpuset.cpus', 'cpuset.mems'])
      await files.append(join(own, name), (await files.read(join(own, '..', name))) ?? '', 0o644);
    await files.append(join(own, 'cgroup.clone_children'), '1', 0o644);
  }

  async function limit(file: string, value: string): Promise<void> {
    try {
      await files.append(file, value, 0o644);
    } catch (error) {
      throw new SpawnletError(
        'ERR_LAB_LIMIT',
        `this host cannot limit a lab: writing ${value} to ${file} failed`,
        {
          hint: 'leave out --memory and --cpus',
          cause: error,
        },
      );
    }
  }

  return {
    describe: step => {
      const limits = [
        ...(step.memory === null ? [] : [`${step.memory} bytes`]),
        ...(step.cpuPercent === null ? [] : [`${step.cpuPercent}% of a processor`]),
      ];
      return `make cgroup ${cgroupName(step.name)} in ${step.hierarchies.map(h => h.path).join(', ')} (${limits.join(', ') || 'no limits'})`;
    },
    satisfied: async step => {
      const there = await Promise.all(
        step.hierarchies.map(hierarchy => files.look(join(directory(step, hierarchy), bootLeaf))),
      );
      return there.every(entry => entry !== undefined);
    },
    apply: async step => {
      for (const hierarchy of step.hierarchies) {
        const own = directory(step, hierarchy);
        const limited = takesLimits(hierarchy, step.hierarchies);
        if (hierarchy.version === 2 && limited) await enableControllers(hierarchy.path);
        await files.makeDirectory(own, 0o755);
        if (hierarchy.controllers.includes('cpuset')) await fillCpuset(own);
        if (limited)
          for (const [name, value] of limitFiles(hierarchy, step)) await limit(join(own, name), value);
        if (hierarchy.version === 2 && limited) await enableControllers(own);
        await files.makeDirectory(join(own, machineLeaf), 0o755);
        await files.makeDirectory(join(own, bootLeaf), 0o755);
      }
    },
    undo: step => endCgroups(files, clock, step.name, step.hierarchies),
  };
}

async function* walk(group: string): AsyncGenerator<string> {
  try {
    for (const entry of await readdir(group, { withFileTypes: true }))
      if (entry.isDirectory()) yield* walk(join(group, entry.name));
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return;
    throw error;
  }
  yield group;
}

/** Where a lab's cgroup is below a hierarchy: at its root, or where a systemd that is PID 1 puts the unit. */
const groupsOf = (lab: string) => [cgroupName(lab), `system.slice/${cgroupName(lab)}.service`];

/** Every cgroup of the lab, those below first. */
async function* groups(lab: string, hierarchies: readonly Hierarchy[]): AsyncGenerator<string> {
  for (const hierarchy of hierarchies)
    for (const group of groupsOf(lab)) yield* walk(join(hierarchy.path, group));
}

/** Process numbers in the lab's cgroups. */
export async function processesOf(
  files: Files,
  lab: string,
  hierarchies: readonly Hierarchy[],
): Promise<Set<number>> {
  const pids = new Set<number>();
  for await (const group of groups(lab, hierarchies)) {
    const text = await readProcs(files, join(group, 'cgroup.procs'));
    for (const pid of text.split('\n')) if (pid !== '') pids.add(Number(pid));
  }
  return pids;
}

/** A group may be removed while it is read. */
async function readProcs(files: Files, path: string): Promise<string> {
  try {
    return (await files.read(path)) ?? '';
  } catch (error) {
    if (isErrno(error, 'ENODEV', 'EOPNOTSUPP')) return '';
    throw error;
  }
}

const deadline = 15_000;

/**
 * Kills what is in the lab's cgroups until nothing is. cgroup v1 tells nobody when it empties, and a process that is
 * being killed stays in it for some milliseconds, hence the short waits. A process leaves its cgroup after all else that
 * it holds: locks, mounts, links.
 */
export async function killProcesses(
  files: Files,
  clock: Clock,
  lab: string,
  hierarchies: readonly Hierarchy[],
): Promise<void> {
  const until = clock.now() + deadline;
  for (;;) {
    const pids = await processesOf(files, lab, hierarchies);
    if (pids.size === 0) return;
    for (const pid of pids) kill(pid);
    if (clock.now() > until)
      throw new SpawnletError(
        'ERR_LAB_STUCK',
        `processes of lab ${lab} cannot be killed: ${[...pids].join(' ')}`,
      );
    await clock.sleep(5);
  }
}

/** Kills what is in the lab's cgroups and removes them. */
export async function endCgroups(
  files: Files,
  clock: Clock,
  lab: string,
  hierarchies: readonly Hierarchy[],
): Promise<void> {
  const until = clock.now() + deadline;
  for (;;) {
    await killProcesses(files, clock, lab, hierarchies);
    let left: string | undefined;
    for await (const group of groups(lab, hierarchies)) {
      try {
        await rmdir(group);
      } catch (error) {
        if (isErrno(error, 'EBUSY', 'ENOTEMPTY')) left = group;
        else if (!isErrno(error, 'ENOENT')) throw error;
      }
    }
    if (left === undefined) return;
    if (clock.now() > until) throw new SpawnletError('ERR_LAB_STUCK', `cgroup ${left} cannot be removed`);
    await clock.sleep(5);
  }
}

function kill(pid: number): void {
  try {
    // 0 stands for a process of a namespace that we do not see; killing 0 would be killing ourselves.
    if (pid > 1) process.kill(pid, 'SIGKILL');
  } catch (error) {
    if (!isErrno(error, 'ESRCH')) throw error;
  }
}
