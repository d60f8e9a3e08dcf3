import type { Files } from '../host/files.ts';
import type { SystemdClient } from '../systemd/client.ts';
import type { MachineRow, MachineState } from './api.ts';
import { namesOf } from './observe.ts';
import { placesOf } from './places.ts';
import type { MachineSpec } from './spec.ts';

/** What a machine is doing, from its unit. */
export function stateOf(activeState: string): MachineState {
  switch (activeState) {
    case 'active':
    case 'reloading':
    case 'refreshing':
      return 'running';
    case 'activating':
      return 'starting';
    case 'deactivating':
      return 'stopping';
    case 'failed':
      return 'failed';
    default:
      return 'stopped';
  }
}

/** A text of YAML in one line, as spawnlet writes it: plain, or in quotes of either kind. */
function unquoted(text: string): string {
  const word = text.trim();
  if (/^'.*'$/.test(word)) return word.slice(1, -1).replaceAll("''", "'");
  return /^".*"$/.test(word) ? (JSON.parse(word) as string) : word;
}

/**
 * Fields of a kept spec that a list or an `exec` asks for, read from its lines: YAML's parser takes longer for one machine than
 * this for fifty.
 */
export function shownFields(document: string): {
  readonly from: string;
  readonly addresses: readonly string[];
  readonly start: MachineSpec['start']['kind'];
} {
  const from = unquoted(/^ {2}from: (.*)$/m.exec(document)?.[1] ?? '');
  const lists = [...document.matchAll(/^ +addresses:\n((?: +- .*\n)+)/gm)];
  const addresses = lists.flatMap(([, items = '']) =>
    items.split('\n').flatMap(item => /^ +- (.*)$/.exec(item)?.[1] ?? []),
  );
  return {
    from,
    addresses: addresses.map(item => unquoted(item).replace(/\/.*$/, '')),
    start: /^ {2}command:/m.test(document) ? 'command' : 'boot',
  };
}

const groups = ['/sys/fs/cgroup/machine.slice', '/sys/fs/cgroup/memory/machine.slice'] as const;
const memoryFiles = ['memory.current', 'memory.usage_in_bytes'] as const;

/** Bytes that a unit below machine.slice has now. */
async function memoryOf(files: Files, unit: string): Promise<number | undefined> {
  for (const [index, group] of groups.entries()) {
    const text = await files.read(`${group}/${unit}/${memoryFiles[index]}`);
    if (text !== undefined) return Number(text);
  }
  return undefined;
}

const microsecond = 1000;

/** All machines, by name: one question to systemd, one more for each that runs, and small files. */
export async function listMachines(
  files: Files,
  systemd: SystemdClient,
  signal: AbortSignal,
): Promise<MachineRow[]> {
  const [names, units] = await Promise.all([
    namesOf(files),
    systemd.listUnits(['systemd-nspawn@*.service'], signal),
  ]);
  const states = new Map(units.map(unit => [unit.name, stateOf(unit.activeState)]));
  const rows = names.map(async (name): Promise<MachineRow[]> => {
    const places = placesOf(name);
    const text = await files.read(places.spec);
    if (text === undefined) return [];
    const state = states.get(places.unit) ?? 'stopped';
    const isUp = state === 'running';
    const [enabled, memory, since] = await Promise.all([
      files.look(places.enabled),
      isUp ? memoryOf(files, places.unit) : undefined,
      isUp ? systemd.unitProperty(places.unit, 'ActiveEnterTimestamp', signal) : undefined,
    ]);
    const { from, addresses } = shownFields(text);
    return [
      {
        name,
        state,
        enabled: enabled !== undefined,
        from,
        addresses: isUp ? addresses : [],
        ...(since !== undefined && since > 0 && { since: Math.floor(since / microsecond) }),
        ...(memory !== undefined && { memory }),
      },
    ];
  });
  return (await Promise.all(rows)).flat();
}
