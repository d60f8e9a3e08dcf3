import { statSync } from 'node:fs';
import { ownBytes } from '../host/subvolume.ts';
import { formatTreeSource } from '../image/tree/source.ts';
import { unitPath } from '../names.ts';
import type { UnitProperties } from '../systemd/properties.ts';
import type { MachineStatus } from './api.ts';
import type { MachineDependencies } from './change.ts';
import { stateOf } from './list.ts';
import { getMade, type Made } from './observe.ts';
import { type Places, placesOf } from './places.ts';
import { whyUnmapped } from './prepare.ts';
import { runningMachine } from './running.ts';
import { snapshotNames } from './snapshot.ts';
import { missingSources, tellSource } from './sources.ts';

const microsecond = 1000;

/** Addresses that a machine has, as systemd-machined is told by the kernel; none where it cannot say. */
async function addressesOf(
  { host }: MachineDependencies,
  name: string,
  signal: AbortSignal,
): Promise<string[]> {
  const manager = 'org.freedesktop.machine1';
  const argv = ['busctl', '--json=short', 'call', manager, '/org/freedesktop/machine1', `${manager}.Manager`];
  const { code, stdout } = await host.children.capture([...argv, 'GetMachineAddresses', 's', name], {
    signal,
  });
  if (code !== 0) return [];
  const { data } = JSON.parse(stdout.toString()) as { data: [[number, number[]][]] };
  return data[0].map(([, bytes]) => formatAddress(bytes)).filter(address => !address.startsWith('fe80:'));
}

/** Four or sixteen bytes, in the shortest form of each; RFC 5952. */
export function formatAddress(bytes: readonly number[]): string {
  if (bytes.length === 4) return bytes.join('.');
  const words = Array.from({ length: 8 }, (_word, at) =>
    (((bytes[2 * at] ?? 0) << 8) | (bytes[2 * at + 1] ?? 0)).toString(16),
  );
  return new URL(`http://[${words.join(':')}]`).hostname.slice(1, -1);
}

/** The user namespace that a machine runs in, or would. */
async function usersOf(
  { host }: MachineDependencies,
  made: Made,
  places: Places,
  leader: number | undefined,
): Promise<MachineStatus['users']> {
  const settings = (await host.files.read(places.settings)) ?? '';
  const asked = /^PrivateUsers=(.*)$/m.exec(settings)?.[1] ?? 'pick';
  const map = leader === undefined ? undefined : await host.files.read(`/proc/${leader}/uid_map`);
  const [, base, count] = /^\s*0\s+(\d+)\s+(\d+)/.exec(map ?? '') ?? [];
  const range = base === undefined || base === '0' ? asked : `${base}:${count}`;
  if (asked !== 'no') return { range };
  if (made.spec.privateUsers?.kind === 'no') return { range, why: 'it was asked for' };
  const root = made.tree.kind === 'link' ? made.tree.path : places.tree;
  const unmapped = await whyUnmapped(made.spec, made.tree, root).catch(() => undefined);
  return unmapped === undefined ? { range } : { range, why: `${unmapped.why}; ${unmapped.remedy}` };
}

/** Settings and drop-ins that make a machine what it is, those by hand included. */
async function filesOf({ host }: MachineDependencies, made: Made, places: Places): Promise<string[]> {
  const { files } = host;
  const dropIns = unitPath.map(directory => `${directory}/${places.unit}.d`);
  const found = await Promise.all(
    dropIns.map(async directory => (await files.list(directory)).map(name => `${directory}/${name}`)),
  );
  const own = [places.settings, ...(made.layers ? [places.mountFile] : []), places.spec];
  const there = await Promise.all(own.map(async path => ((await files.look(path)) ? [path] : [])));
  return [...there.flat(), ...found.flat()];
}

const changedAt = (path: string): number => statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0;

/**
 * What waits until the machine starts anew, or systemd reads its files. Since version 257 systemd also says that it has to
 * when some other unit was enabled: of the machine's own files something must have changed.
 */
function pendingOf(
  places: Places,
  since: number | undefined,
  unit: Pick<UnitProperties, 'NeedDaemonReload' | 'DropInPaths'>,
  dropIns: readonly string[],
): string[] {
  if (since === undefined) return [];
  const changed = dropIns.some(path => !unit.DropInPaths.includes(path) || changedAt(path) > since);
  return [
    ...(changedAt(places.settings) > since ? [`${places.settings} was changed since it started`] : []),
    ...(unit.NeedDaemonReload && changed ? ['files of its unit were changed: systemctl daemon-reload'] : []),
  ];
}

/** All that is to be said of a machine. Throws `ERR_NO_MACHINE`. */
export async function statusOf(
  deps: MachineDependencies,
  name: string,
  signal: AbortSignal,
): Promise<MachineStatus> {
  const { files } = deps.host;
  const made = await getMade(files, name);
  const places = placesOf(name);
  const systemd = await deps.systemd();
  const unit = await systemd.unitProperties(places.unit, signal);
  const state = stateOf(unit.ActiveState);
  const isUp = state === 'running' || state === 'starting';
  const since = state === 'running' ? Math.floor(unit.ActiveEnterTimestamp / microsecond) : undefined;
  const leader = isUp
    ? await runningMachine(made.spec, systemd, files, signal).then(
        running => running.leader,
        () => undefined,
      )
    : undefined;
  const { guestOs } = await import('./guest/os.ts');
  const root = made.tree.kind === 'overlay' ? (made.layers?.lower.at(-1) ?? places.tree) : places.tree;
  const [addresses, users, own, snapshots, os, changed, missing] = await Promise.all([
    leader === undefined ? [] : addressesOf(deps, name, signal),
    usersOf(deps, made, places, leader),
    filesOf(deps, made, places),
    snapshotNames(files, name),
    guestOs(root, { sshKeys: [], users: [], copy: [], run: [] }, files),
    made.layers ? ownBytes(deps.host, made.layers.upper, signal) : undefined,
    isUp ? [] : missingSources(made.spec),
  ]);
  return {
    name,
    state,
    enabled: made.enabled,
    from: formatTreeSource(made.spec.from),
    addresses,
    ...(since !== undefined && { since }),
    ...(isUp && unit.MemoryCurrent !== undefined && { memory: unit.MemoryCurrent }),
    spec: made.spec,
    unit: places.unit,
    os: os.name,
    tree: {
      kind: made.tree.kind,
      path: made.tree.kind === 'link' ? made.tree.path : places.tree,
      layers: made.layers?.lower ?? [],
      ...(changed !== undefined && { changed }),
    },
    ...(leader !== undefined && { leader }),
    ...(isUp && unit.TasksCurrent !== undefined && { tasks: unit.TasksCurrent }),
    tasksMax: made.spec.limits.tasks ?? 16_384,
    users,
    files: own,
    snapshots,
    missing: missing.map(tellSource),
    pending: pendingOf(
      places,
      since,
      unit,
      own.filter(path => path.endsWith('.conf')),
    ),
  };
}
