import { parseUnit, valuesOf } from '../../systemd/unit-file.ts';

/**
 * What a program of the host takes over from the unit that its package ships: the command, the user, the environment and
 * restrictions. What says where it lies among other units, when it is restarted and what of the host it may write is not taken
 * over: that is the pod's.
 */
export interface PackageService {
  /** `exec`, `notify`, `notify-reload`, `forking` or `oneshot`; `simple`, `idle` and `dbus` are `exec` here. */
  readonly type: string;
  /** Command lines as they are written, prefixes included. */
  readonly start: readonly string[];
  readonly startPre: readonly string[];
  readonly startPost: readonly string[];
  readonly stop: readonly string[];
  readonly stopPost: readonly string[];
  readonly user?: string;
  readonly group?: string;
  readonly dynamicUser: boolean;
  readonly supplementaryGroups: readonly string[];
  readonly workingDirectory?: string;
  readonly killSignal?: string;
  readonly pidFile?: string;
  /** Names below /run. */
  readonly runtimeDirectories: readonly string[];
  readonly runtimeDirectoryMode: string;
  readonly boundingSet: readonly string[];
  readonly systemCalls: readonly Assignment[];
  /** Taken over word for word. */
  readonly kept: readonly Assignment[];
  /** Taken over as long as the program is the package's own. */
  readonly notification: readonly Assignment[];
}

type Assignment = readonly [key: string, value: string];

/** Settings that mean the same in another unit. */
const keptKeys = [
  'Environment EnvironmentFile PassEnvironment UnsetEnvironment UMask TimeoutStartSec',
  'Nice IOSchedulingClass IOSchedulingPriority CPUSchedulingPolicy CPUSchedulingPriority TimerSlackNSec IgnoreSIGPIPE',
  'LimitCPU LimitFSIZE LimitDATA LimitSTACK LimitCORE LimitRSS LimitNOFILE LimitAS LimitNPROC LimitMEMLOCK LimitLOCKS',
  'LimitSIGPENDING LimitMSGQUEUE LimitNICE LimitRTPRIO LimitRTTIME',
  'StateDirectory StateDirectoryMode CacheDirectory CacheDirectoryMode LogsDirectory LogsDirectoryMode',
  'ConfigurationDirectory ConfigurationDirectoryMode LoadCredential LoadCredentialEncrypted SetCredential',
  'AmbientCapabilities SecureBits KeyringMode Personality LockPersonality MemoryDenyWriteExecute',
  'RestrictAddressFamilies RestrictNamespaces RestrictRealtime RestrictSUIDSGID RemoveIPC',
].flatMap(line => line.split(' '));

const callKeys = ['SystemCallArchitectures', 'SystemCallErrorNumber', 'SystemCallFilter'];
const notificationKeys = ['NotifyAccess', 'WatchdogSec'];
/** Those that are lists: an empty value takes back what stood before it. */
const words = (values: readonly string[]) => values.flatMap(value => value.split(/[ \t]+/)).filter(Boolean);
const isYes = (value: string | undefined) => /^(?:1|yes|y|true|t|on)$/i.test(value ?? '');

/** What of `Type=` holds for a unit that is not on the bus and is started by an agent. */
const typeOf = (type: string) => (['simple', 'idle', 'dbus', ''].includes(type) ? 'exec' : type);

/**
 * Reads the unit of a package.
 *
 * @param name of its file: `nginx.service`, which specifiers in it stand for
 * @returns undefined if it starts nothing: a link to /dev/null, for one
 */
export function parsePackageUnit(text: string, name: string): PackageService | undefined {
  const unit = parseUnit(text);
  const prefix = name.replace(/\.service$/, '');
  const named = (value: string) =>
    value.replaceAll(/%([%nNpP])/g, (all, letter: string) =>
      letter === '%' ? all : letter === 'n' ? name : prefix,
    );
  const all = (key: string): string[] => {
    const values = valuesOf(unit, 'Service', key);
    return values.slice(values.lastIndexOf('') + 1).map(named);
  };
  const last = (key: string): string | undefined => all(key).at(-1);
  const lines = (keys: readonly string[]) =>
    keys.flatMap(key => all(key).map((value): Assignment => [key, value]));
  const type = typeOf(last('Type') ?? '');
  const start = all('ExecStart');
  if (start.length === 0) return undefined;
  const [user, group, directory, signal, pidFile] = [
    'User',
    'Group',
    'WorkingDirectory',
    'KillSignal',
    'PIDFile',
  ].map(last);
  return {
    // Of one command, its end is the container's; of several, systemd has to run each.
    type: type === 'oneshot' && start.length === 1 ? 'exec' : type,
    start,
    startPre: [...all('ExecCondition'), ...all('ExecStartPre')],
    startPost: all('ExecStartPost'),
    stop: all('ExecStop'),
    stopPost: all('ExecStopPost'),
    ...(user !== undefined && { user }),
    ...(group !== undefined && { group }),
    dynamicUser: isYes(last('DynamicUser')),
    supplementaryGroups: words(all('SupplementaryGroups')),
    ...(directory !== undefined && { workingDirectory: directory }),
    ...(signal !== undefined && { killSignal: signal }),
    ...(pidFile !== undefined && { pidFile }),
    runtimeDirectories: words(all('RuntimeDirectory')).map(each => each.replace(/:.*$/, '')),
    runtimeDirectoryMode: last('RuntimeDirectoryMode') ?? '0755',
    boundingSet: all('CapabilityBoundingSet'),
    systemCalls: lines(callKeys),
    kept: lines(keptKeys),
    notification: lines(notificationKeys),
  };
}
