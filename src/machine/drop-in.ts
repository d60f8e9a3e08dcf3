import { SpawnletError } from '../host/error.ts';
import { formatVersion } from '../names.ts';
import { checkUnitName, execLine, pathWord, plainPath, plainText } from '../systemd/escape.ts';
import { renderUnit, unitFile } from '../systemd/unit-file.ts';
import { type Assignment, type Group, type MachineFacts, type NetworkLines, sectionOf } from './lines.ts';
import { isMappable, mergedGroups } from './nspawn-file.ts';
import { type ProfileLine, unrolled } from './profiles.ts';
import type { Credential, MachineLimits, MachineSpec } from './spec.ts';

/**
 * `/etc/systemd/system/systemd-nspawn@NAME.service.d/50-spawnlet.conf`: what systemd.nspawn(5) cannot say. Each group of lines says why it
 * is there.
 */

/** The words of the stock unit, 252 to 257; they are given anew only where a word has to be added. */
export const stockCommand = [
  '/usr/bin/systemd-nspawn',
  '--quiet',
  '--keep-unit',
  '--boot',
  '--link-journal=try-guest',
  '--network-veth',
  '-U',
  '--settings=override',
] as const;

/** @throws ERR_UNIT_NAME for a name that cannot be part of one. */
export const machineUnit = (name: string) => checkUnitName(`systemd-nspawn@${name}.service`);

/** Machines that are started before this one at boot: those with a lower order. One without an order waits for none. */
export function startsAfter(spec: MachineSpec, all: readonly MachineSpec[]): string[] {
  const { order } = spec.autostart;
  if (order === undefined) return [];
  const isBefore = (other: MachineSpec) =>
    other.enabled && other.name !== spec.name && (other.autostart.order ?? order) < order;
  return all
    .filter(isBefore)
    .map(other => other.name)
    .toSorted();
}

/** The machine's limits as properties of its unit, as `systemctl set-property` takes them too. */
export const limitsOf = ({ memory, cpus, ioWeight, tasks }: MachineLimits): Assignment[] => [
  ...(memory === undefined ? [] : [['MemoryMax', String(memory)] as const]),
  ...(cpus === undefined ? [] : [['CPUQuota', `${Math.max(1, Math.round(cpus * 100))}%`] as const]),
  ...(ioWeight === undefined ? [] : [['IOWeight', String(ioWeight)] as const]),
  ...(tasks === undefined ? [] : [['TasksMax', String(tasks)] as const]),
];

/** Directories below /dev are no devices. */
export const isNode = (path: string) =>
  path.startsWith('/dev/') && !/^\/dev\/(shm|mqueue|hugepages|pts|log)(\/|$)/.test(path);

/** Each node once, with all that is asked for. */
function devicesOf(spec: MachineSpec, profiles: readonly ProfileLine[]): Assignment[] {
  const access = new Map<string, Set<string>>();
  const allow = (path: string, letters: string) =>
    access.set(path, new Set([...(access.get(path) ?? []), ...letters.split('')]));
  for (const device of spec.devices) allow(pathWord(device.path), device.access);
  for (const mount of spec.mounts)
    if (mount.kind === 'bind' && isNode(mount.source))
      allow(pathWord(mount.source), mount.readOnly ? 'r' : 'rw');
  for (const { value } of profiles.filter(line => line.key === 'DeviceAllow')) {
    const [path = '', letters = ''] = value.split(' ');
    allow(path, letters);
  }
  return [...access].map(([path, letters]) => [
    'DeviceAllow',
    `${path} ${'rwm'.replaceAll(/./g, letter => (letters.has(letter) ? letter : ''))}`,
  ]);
}

/** Directories of the host that have to be mounted before the machine starts. */
function mountsFor(spec: MachineSpec, facts: MachineFacts): Assignment[] {
  const sources = spec.mounts.flatMap(mount => {
    if (mount.kind === 'bind') return [mount.source];
    return mount.kind === 'overlay' ? mount.layers : [];
  });
  const paths = [...(facts.tree.kind === 'link' ? [facts.tree.path] : []), ...sources.filter(isMappable)];
  return [...new Set(paths)].map(path => ['RequiresMountsFor', pathWord(path)]);
}

/** %i: the machine's name. */
export const forgetExport = '-/bin/umount --quiet /run/systemd/nspawn/unix-export/%i';

/** The system is starting until all that was queued at boot is up; so a start by hand does not wait. */
const waiting = (seconds: number) =>
  `case "$(systemctl is-system-running)" in initializing|starting) exec sleep ${seconds};; esac`;

/** How long a start may take; systemd counts {@link waiting} as part of it. */
function startTimeout({ delay = 0 }: MachineSpec['autostart'], isNotified: boolean): Group {
  const boot = isNotified ? 15 * 60 : 90;
  if (delay > 0)
    return {
      why: 'The wait at boot is part of the start, which may take as long as it else could.',
      lines: [['TimeoutStartSec', String(Math.ceil(delay) + boot)]],
    };
  return {
    why: 'Its first boot may take longer than the 90 seconds after which systemd ends a unit that is not up.',
    lines: isNotified ? [['TimeoutStartSec', '15min']] : [],
  };
}

/** Whether this may be the value that {@link serviceDropIn} has written. */
export const isStartTimeout = (value: string): boolean => value === '15min' || /^\d+$/.test(value);

/** A credential is a file in a directory, and a word before a colon. */
function credentialId(id: string): string {
  if (/^[\w-][\w.-]{0,127}$/.test(id)) return id;
  throw new SpawnletError('ERR_UNIT_VALUE', `${JSON.stringify(id)} is no name of a credential`, {
    hint: 'letters, digits and _ . -',
  });
}

/** The seconds of {@link waiting} in a command; undefined for any other command. */
export function delayOf(argv: readonly string[]): number | undefined {
  const seconds = Number(/exec sleep (\d+(?:\.\d+)?);;/.exec(argv[2] ?? '')?.[1]);
  return argv.length === 3 && argv[2] === waiting(seconds) ? seconds : undefined;
}

function credentialsOf(name: string, credentials: readonly Credential[]): Assignment[] {
  if (credentials.length === 0) return [];
  const loaded = credentials.map(({ id }) => `--load-credential=${credentialId(id)}:${id}`);
  return [
    ...credentials.map(({ id, path }): Assignment => ['LoadCredential', `${id}:${plainPath(path)}`]),
    ['ExecStart', ''],
    ['ExecStart', execLine([...stockCommand, ...loaded, `--machine=${name}`])],
  ];
}

/** What the drop-in alone can tell `adopt` about the spec. */
const recordOf = (spec: MachineSpec): Assignment[] => [
  ['FormatVersion', String(formatVersion)],
  ['Profiles', spec.profiles.join(' ')],
  ...(spec.privateUsers === undefined ? [['PrivateUsers', 'chosen'] as const] : []),
  ...(spec.autostart.order === undefined ? [] : [['Order', String(spec.autostart.order)] as const]),
  ...(spec.autostart.delay === undefined ? [] : [['Delay', String(spec.autostart.delay)] as const]),
];

/**
 * The text of the drop-in of a machine's unit. Throws `ERR_UNIT_VALUE` for a value that its setting cannot hold, `ERR_MACHINE_PROFILE` for a
 * profile that the host cannot give.
 */
export function serviceDropIn(spec: MachineSpec, network: NetworkLines, facts: MachineFacts): string {
  const profiles = unrolled(spec, facts).lines.filter(line => line.place === 'Service');
  const { delay } = spec.autostart;
  const isNotified = spec.start.kind === 'boot' && facts.ready === 'notify';
  const fromProfiles = profiles
    .filter(line => line.key !== 'DeviceAllow')
    .map((line): Group => ({ why: `${line.profile}: ${line.why}`, lines: [[line.key, line.value]] }));
  return renderUnit(
    unitFile(
      `Machine ${spec.name}, made by 'spawnlet machine': what systemd.nspawn(5) cannot say. To change it: spawnlet machine set ${spec.name}\nYour own settings: systemctl edit ${machineUnit(spec.name)}`,
      [
        ...sectionOf('Unit', [
          {
            why: 'systemd-nspawn copies resolv.conf and makes its links as it starts: the network of the host has to be there.',
            lines: [['After', 'network.target nss-lookup.target']],
          },
          {
            why: 'What it is attached to is there first: systemd-nspawn does not wait.',
            lines: network.unit,
          },
          {
            why: 'Where its tree and what is bound into it may be mounted.',
            lines: mountsFor(spec, facts),
          },
          {
            why: 'Machines with a lower order are up first.',
            lines: facts.after.map(name => ['After', plainText('the unit', machineUnit(name))]),
          },
        ]),
        ...sectionOf('Service', [
          startTimeout(spec.autostart, isNotified),
          {
            why: 'Waits at boot only.',
            lines:
              delay === undefined || delay === 0
                ? []
                : [['ExecStartPre', execLine(['/bin/sh', '-c', waiting(delay)])]],
          },
          { why: 'Limits of the whole machine are those of its unit.', lines: limitsOf(spec.limits) },
          {
            why: 'The stock unit has DevicePolicy=closed.',
            lines: devicesOf(spec, profiles),
          },
          {
            why: 'systemd-nspawn passes on what systemd has loaded for it: no secret is in a file or in a list of processes.',
            lines: credentialsOf(spec.name, spec.credentials),
          },
          ...mergedGroups(fromProfiles),
          { why: 'What a .nspawn file cannot ask of a network.', lines: network.service },
          {
            why: 'Left by a systemd-nspawn 257 that was killed, it would keep the next one from starting.',
            lines: [['ExecStopPost', forgetExport]],
          },
        ]),
        ...sectionOf('X-Spawnlet', [{ lines: recordOf(spec) }]),
      ],
    ),
  );
}
