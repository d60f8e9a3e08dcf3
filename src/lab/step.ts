import { open } from 'node:fs/promises';
import { check } from '../host/child.ts';
import type { Host } from '../host/host.ts';
import type { Holder } from '../host/process.ts';
import { type Executors, hostExecutors } from '../host/step.ts';
import { cgroupName, endCgroups, type Hierarchy, killProcesses, makeCgroupsExecutor } from './cgroup.ts';
import { egressExecutors } from './egress.ts';
import { networkExecutors, removeIfEmpty } from './network.ts';
import type { LabStep } from './plan.ts';
import { type LabRecord, placesOf } from './record.ts';
import { buildTreeExecutor } from './tree.ts';

/** Steps of labs that no other room knows. */
export type OwnLabStep = Exclude<LabStep, { do: keyof ReturnType<typeof hostExecutors> }>;

/** What the boot script is given to live in; nothing of the caller's environment reaches a lab. */
const environment = { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', LANG: 'C.UTF-8' };

/** Who a process is; undefined if it is gone. */
async function identify(host: Host, pid: number, command: string): Promise<Holder | undefined> {
  const stat = await host.files.read(`/proc/${pid}/stat`);
  const start = stat?.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
  return start === undefined ? undefined : { pid, start, boot: host.locks.self.boot, command };
}

/** The process that keeps a lab, if it runs. */
export async function keeperOf(host: Host, name: string): Promise<Holder | undefined> {
  const text = await host.files.read(placesOf(name).process);
  if (text === undefined) return undefined;
  const holder = JSON.parse(text) as Holder;
  if (!host.locks.isAlive(holder)) return undefined;
  // One that was killed has its number until its parent looks.
  return /\) Z /.test((await host.files.read(`/proc/${holder.pid}/stat`)) ?? '') ? undefined : holder;
}

/** Starts the script in a session of its own, so that it stays when the command and its terminal are gone. */
async function startAlone(host: Host, name: string): Promise<number> {
  const places = placesOf(name);
  await using log = await open(places.log, 'a', 0o600);
  const child = host.children.spawn([places.script, 'boot'], {
    detached: true,
    stdio: ['ignore', log.fd, log.fd],
    cwd: '/',
    env: environment,
  });
  await new Promise<void>((resolve, reject) => child.once('spawn', resolve).once('error', reject));
  child.unref();
  return child.pid as number;
}

/** Starts the script as a unit. Returns when the lab's systemd has told that it is up. */
async function startUnit(host: Host, record: LabRecord, signal: AbortSignal): Promise<number> {
  const { spec } = record;
  const places = placesOf(spec.name);
  const properties = [
    'Delegate=yes',
    'KillMode=mixed',
    'TasksMax=infinity',
    'TimeoutStartSec=120',
    'TimeoutStopSec=15',
    'SuccessExitStatus=133',
    'RestartForceExitStatus=133',
    `StandardOutput=append:${places.log}`,
    `StandardError=append:${places.log}`,
    ...(spec.memory === null ? [] : [`MemoryMax=${spec.memory}`]),
    ...(spec.cpuPercent === null ? [] : [`CPUQuota=${spec.cpuPercent}%`]),
  ];
  await check(
    host.children,
    [
      'systemd-run',
      '--quiet',
      '--collect',
      `--unit=${places.unit}`,
      '--service-type=notify',
      `--description=spawnlet lab ${spec.name}`,
      ...properties.map(property => `--property=${property}`),
      places.script,
    ],
    { signal },
  );
  const shown = await check(host.children, [
    'systemctl',
    'show',
    '--property=MainPID',
    '--value',
    places.unit,
  ]);
  return Number(shown.toString());
}

/** What a killed nspawn leaves; with no systemd on the host it was in the lab's own mount namespace. */
const nspawnPlaces = (name: string) =>
  ['propagate', 'unix-export'].map(kind => `/run/systemd/nspawn/${kind}/${name}`);

async function end(host: Host, name: string, hierarchies: readonly Hierarchy[]): Promise<void> {
  const { children, clock, files } = host;
  const { unit } = placesOf(name);
  if ((await files.look('/run/systemd/system')) !== undefined) {
    // A lab is thrown away: its services are not asked to end.
    await children.capture(['systemctl', 'kill', '--signal=KILL', unit]);
    await children.capture(['systemctl', 'stop', unit]);
    await children.capture(['systemctl', 'reset-failed', unit]);
  }
  await endCgroups(files, clock, name, hierarchies);
  for (const path of nspawnPlaces(name)) await files.remove(path);
  await removeIfEmpty(files, '/run/systemd');
}

/** Executors of all that a lab needs, files included. */
export function labExecutors(host: Host): Executors<OwnLabStep> {
  const { files, clock } = host;
  return {
    'build-tree': buildTreeExecutor(host),
    'make-cgroups': makeCgroupsExecutor(files, clock),
    ...networkExecutors(host),
    ...egressExecutors(host),
    'start-lab': {
      describe: step => `boot lab ${step.name} (${placesOf(step.name).script})`,
      satisfied: async step => (await keeperOf(host, step.name)) !== undefined,
      apply: async (step, signal) => {
        const places = placesOf(step.name);
        // What is left of a lab whose keeper has died would be in the way.
        await killProcesses(files, clock, step.name, step.hierarchies);
        await files.remove(places.ready);
        const pid =
          step.record.supervisor === 'systemd'
            ? await startUnit(host, step.record, signal)
            : await startAlone(host, step.name);
        const keeper = await identify(host, pid, `lab ${step.name}`);
        if (keeper) await files.write(places.process, JSON.stringify(keeper), 0o600);
      },
      undo: step => end(host, step.name, step.hierarchies),
    },
    'end-lab': {
      describe: step => `end lab ${step.name}: kill its processes, remove its cgroups`,
      satisfied: async step => {
        if (await keeperOf(host, step.name)) return false;
        const groups = step.hierarchies.map(({ path }) => `${path}/${cgroupName(step.name)}`);
        const left = [...groups, ...nspawnPlaces(step.name)].map(path => files.look(path));
        return (await Promise.all(left)).every(entry => entry === undefined);
      },
      apply: step => end(host, step.name, step.hierarchies),
    },
  };
}

/** {@link labExecutors} with those of plain files: a whole table, for whoever needs nothing but labs. */
export const allLabExecutors = (host: Host): Executors<LabStep> => ({
  ...hostExecutors(host.files),
  ...labExecutors(host),
});
