import { logNamespace } from '../../names.ts';
import { execLine, plainPath, plainText } from '../../systemd/escape.ts';
import { sideLine, startLines, wrapLine } from './command.ts';
import type { PackageService } from './package-unit.ts';
import { type HostProgram, variablesOf } from './program.ts';
import { sandboxLines } from './sandbox.ts';

type Assignment = readonly [key: string, value: string];

/** What it takes to become somebody else, and to give that up. */
const becomingCapabilities = ['CAP_SETGID', 'CAP_SETUID', 'CAP_SETPCAP'];

/**
 * How systemd knows that the program runs. A pod that gives the words of a program means one that stays in the foreground;
 * one that gives another program means one that tells systemd nothing.
 */
export function typeOf({ service, words }: Pick<HostProgram, 'service' | 'words'>): string {
  const type = service?.type ?? 'exec';
  if (words.program !== undefined) return 'exec';
  return words.args !== undefined && type === 'forking' ? 'exec' : type;
}

/** Whether the package's commands around the program are meant for what the pod runs. */
const isOwn = ({ words }: HostProgram) => words.program === undefined;

/** A path below /run, as the host sees that of the program. */
const outside = (path: string, { run }: HostProgram): string => {
  const absolute = path.startsWith('/') ? path : `/run/${path}`;
  return absolute.replace(/^\/(?:var\/)?run\//, `${run}/run/`);
};

/** A number that the host does not know is become by another program; systemd would not. */
const isBecome = ({ user }: HostProgram) => user.as === 'given' && user.ids !== undefined && !user.isKnown;

function becoming({ user, capabilities }: HostProgram): string[] {
  const { uid, gid } = user.ids ?? { uid: 0, gid: 0 };
  const groups = [...new Set([gid, ...user.groups])];
  const dropped = becomingCapabilities.filter(name => !capabilities.includes(name));
  return [
    '/usr/bin/setpriv',
    `--reuid=${uid}`,
    `--regid=${gid}`,
    `--groups=${groups.join(',')}`,
    '--inh-caps=-all',
    ...(dropped.length > 0
      ? [`--bounding-set=${dropped.map(name => `-${name.toLowerCase().replace('cap_', '')}`).join(',')}`]
      : []),
    '--',
  ];
}

const userOf = (program: HostProgram): Assignment[] => {
  const { service, user } = program;
  if (isBecome(program)) return [];
  const groups = [...(service?.supplementaryGroups ?? []), ...user.groups.map(String)];
  const extra: Assignment[] = groups.length > 0 ? [['SupplementaryGroups', groups.join(' ')]] : [];
  if (user.as === 'given' && user.ids)
    return [['User', String(user.ids.uid)], ['Group', String(user.ids.gid)], ...extra];
  return [
    ...(service?.user === undefined ? [] : [['User', service.user] as const]),
    ...(service?.group === undefined ? [] : [['Group', service.group] as const]),
    ...(service?.dynamicUser ? [['DynamicUser', 'yes'] as const] : []),
    ...extra,
  ];
};

/** The directories of `RuntimeDirectory=`, in the program's own /run. */
function runtimeLines({ service, user }: HostProgram): Assignment[] {
  if (!service || service.runtimeDirectories.length === 0) return [];
  const paths = service.runtimeDirectories.map(name => `/run/${name}`);
  const { uid, gid } = user.ids ?? { uid: 0, gid: 0 };
  const mode = user.ids ? service.runtimeDirectoryMode : '1777';
  const install = ['/usr/bin/install', '-d', `--owner=${uid}`, `--group=${gid}`, `--mode=${mode}`, ...paths];
  return [
    ['Environment', `RUNTIME_DIRECTORY=${paths.join(':')}`],
    ['ExecStartPre', execLine(install, '+')],
  ];
}

const sideLines = (key: string, lines: readonly string[] = []): Assignment[] =>
  lines.map(line => [key, sideLine(line)]);

const notificationOf = (service: PackageService | undefined, type: string) =>
  type.startsWith('notify') ? (service?.notification ?? []) : [];

/**
 * `[Service]` of a program of the host. The package's settings come first: what the pod says, and what the engine does, comes
 * after them and holds.
 */
export function hostServiceLines(program: HostProgram): Assignment[] {
  const { service, directory, words } = program;
  const type = typeOf(program);
  const script = (name: string) => execLine(['/bin/bash', `${directory}/${name}`], '+');
  const cwd = program.cwd === undefined ? service?.workingDirectory : plainPath(program.cwd);
  const killSignal = program.stopSignal ?? service?.killSignal;
  return [
    ...(service?.kept ?? []),
    ...notificationOf(service, type),
    ['Type', type],
    ...userOf(program),
    ...(cwd === undefined ? [] : [['WorkingDirectory', cwd] as const]),
    ['EnvironmentFile', plainText('the path', variablesOf(program))],
    ...(type === 'forking' && service?.pidFile !== undefined
      ? [['PIDFile', outside(service.pidFile, program)] as const]
      : []),
    ...runtimeLines(program),
    ...(isOwn(program) ? sideLines('ExecStartPre', service?.startPre) : []),
    ...startLines(service?.start ?? [], words)
      .map(line => (isBecome(program) ? wrapLine(becoming(program), line) : line))
      .map(line => ['ExecStart', line] as const),
    ...(isOwn(program) ? sideLines('ExecStartPost', service?.startPost) : []),
    ['ExecStartPost', script('begun')],
    ...(isOwn(program) && words.args === undefined && program.stopSignal === undefined
      ? sideLines('ExecStop', service?.stop)
      : []),
    ...(isOwn(program) ? sideLines('ExecStopPost', service?.stopPost) : []),
    ['ExecStopPost', script('stopped')],
    ['KillMode', 'mixed'],
    ...(killSignal === undefined ? [] : [['KillSignal', killSignal] as const]),
    ['TimeoutStopSec', String(Math.max(1, program.grace))],
    ['OOMScoreAdjust', String(program.oomScoreAdj)],
    ['LogNamespace', logNamespace],
    ['SyslogLevelPrefix', 'no'],
    ...sandboxLines(program, type, isBecome(program) ? becomingCapabilities : []),
  ];
}
