import { portsIn, takesPortsBack } from '../../network/nat.ts';
import { delayOf, forgetExport, isNode, isStartTimeout } from '../drop-in.ts';
import { colonWords, quotedWords } from '../nspawn-words.ts';
import { keyOf, optionOf } from '../options.ts';
import type {
  Credential,
  DeviceNode,
  MachineSpec,
  Mount,
  PrivateUsers,
  ProfileName,
  PublishedPort,
} from '../spec.ts';
import { commandWords } from './command-line.ts';
import { type GivenNetwork, givenLink, givenPort, publishes } from './network.ts';
import type { Setting } from './settings.ts';

/** What became of a line. */
export type Reading =
  | { readonly as: string }
  /** `gone`: it is not kept, since nothing of a machine's files could say it. */
  | { readonly left: string; readonly gone?: true };

/** A spec as it is gathered. */
export interface Draft {
  name: string;
  tree?: string;
  start: MachineSpec['start'];
  boot: boolean;
  parameters?: readonly string[];
  hostname?: string;
  users: PrivateUsers;
  chosen: boolean;
  enabled: boolean;
  order?: number;
  delay?: number;
  profiles: ProfileName[];
  readonly network: GivenNetwork;
  readonly mounts: Mount[];
  readonly limits: Partial<Record<'memory' | 'cpus' | 'ioWeight' | 'tasks' | 'nofile' | 'nproc', number>>;
  readonly devices: DeviceNode[];
  readonly capabilities: string[];
  readonly environment: Record<string, string>;
  readonly credentials: Credential[];
}

/** What has to be known before the lines are read one by one. */
export interface Context {
  /** Access by path, of `DeviceAllow=`. */
  readonly access: ReadonlyMap<string, string>;
  /** `Files.Bind=/dev/kmsg`, with the profile. */
  readonly profileLines: ReadonlyMap<string, ProfileName>;
  readonly capabilities: ReadonlyMap<string, ProfileName>;
  readonly systemCalls: ReadonlyMap<ProfileName, readonly string[]>;
  /** Made by spawnlet. */
  readonly recorded: boolean;
}

type Read = (value: string, draft: Draft, context: Context) => Reading;

export const yes = (value: string) => /^(1|yes|y|true|t|on)$/i.test(value);
export const no = (value: string) => /^(0|no|n|false|f|off)$/i.test(value);
const left = (why: string): Reading => ({ left: why });
const as = (field: string): Reading => ({ as: field });

/** Bytes of `512M`; undefined for `infinity`, percentages and what is none. */
function sizeOf(value: string): number | undefined {
  const match = /^(\d+)([KMGT]?)$/.exec(value);
  if (!match) return undefined;
  const bytes = Number(match[1]) * 1024 ** ['', 'K', 'M', 'G', 'T'].indexOf(match[2] ?? '');
  return Number.isSafeInteger(bytes) && bytes > 0 ? bytes : undefined;
}

const countOf = (value: string) => {
  const [soft, hard = soft] = value.split(':');
  return soft === hard && /^[1-9]\d{0,14}$/.test(soft ?? '') ? Number(soft) : undefined;
};

function limit(name: keyof Draft['limits'], parse: (value: string) => number | undefined): Read {
  return (value, draft) => {
    const number = parse(value);
    if (number === undefined) return left(`limits.${name} is a number`);
    draft.limits[name] = number;
    return as(`limits.${name}`);
  };
}

const service: Read = value => (value === '' ? as('nothing') : left('not a setting of machines'));

function bind(readOnly: boolean): Read {
  return (value, draft, context) => {
    const [source = '', target = source, options = ''] = colonWords(value, 2) ?? [];
    if (!source.startsWith('/') || !target.startsWith('/')) return left('a path inside of the tree, or none');
    if (!['', 'idmap', 'rbind'].includes(options)) return left('a bind has no options here');
    if (options === 'idmap' && draft.users.kind === 'no') return left('there are no user namespaces');
    const access = context.access.get(source);
    if (isNode(source) && source === target && !readOnly && access !== undefined) {
      draft.devices.push({ path: source, access });
      return as('devices');
    }
    draft.mounts.push({ kind: 'bind', source, target, readOnly });
    return as('mounts');
  };
}

function network(key: 'Interface' | 'MACVLAN' | 'IPVLAN'): Read {
  return (value, draft) => {
    const link = givenLink(value);
    if (!link) return left('not the name of an interface');
    draft.network.interfaces.push({ key, ...link });
    return as('network');
  };
}

function privateUsers(value: string, draft: Draft): Reading {
  const range = /^(\d{1,10})(?::(\d{1,10}))?$/.exec(value);
  if (no(value) && value !== '0') draft.users = { kind: 'no' };
  else if (value === 'pick') draft.users = { kind: 'pick' };
  else if (range && Number(range[1]) > 0)
    draft.users = { kind: 'range', base: Number(range[1]), count: Number(range[2] ?? 65_536) };
  else return left('privateUsers is no, pick or a range');
  return as('privateUsers');
}

function filter(value: string, draft: Draft, context: Context): Reading {
  const words = value.split(/\s+/).filter(Boolean);
  const given = draft.profiles.filter(name => (context.systemCalls.get(name) ?? []).length > 0);
  const covered = new Set(given.flatMap(name => context.systemCalls.get(name) ?? []));
  const keyring = ['add_key', 'keyctl', 'request_key'];
  const isCovered = (word: string) =>
    covered.has(word) || (covered.has('@keyring') && keyring.includes(word));
  return words.every(isCovered) && words.length > 0
    ? as(`profiles: ${given.join(', ')}`)
    : left('no profile has this list');
}

const parameters: Read = (value, draft) => {
  const words = quotedWords(value);
  if (!words) return left('a quote has no end');
  if (draft.boot) return left('arguments of an init');
  draft.parameters = [...(draft.parameters ?? []), ...words];
  return as('start');
};

function environment(value: string, draft: Draft): Reading {
  const pairs = (quotedWords(value) ?? []).map(word => /^([A-Za-z_]\w*)=(.*)$/s.exec(word));
  if (pairs.length === 0 || pairs.includes(null)) return left('no variable');
  for (const pair of pairs) draft.environment[pair?.[1] ?? ''] = pair?.[2] ?? '';
  return as('environment');
}

function capability(value: string, draft: Draft, { capabilities }: Context): Reading {
  const words = value.split(/\s+/).filter(Boolean);
  const own = words.filter(name => !capabilities.has(name));
  for (const name of own) if (!draft.capabilities.includes(name)) draft.capabilities.push(name);
  const profiles = new Set(words.flatMap(name => capabilities.get(name) ?? []));
  const parts = [
    ...(own.length > 0 ? ['capabilities'] : []),
    ...[...profiles].map(name => `profiles: ${name}`),
  ];
  return as(parts.join('; '));
}

/** `.nspawn` keys and options. What is not here is left alone, for the reason in the list of options. */
const readers: Readonly<Record<string, Read>> = {
  'Exec.Boot': () => as('start'),
  'Exec.ProcessTwo': () => as('start'),
  'Exec.Parameters': parameters,
  'Exec.Environment': environment,
  'Exec.NotifyReady': value =>
    yes(value) ? as('start: spawnlet waits for it, too') : left('spawnlet waits until it is up'),
  'Exec.Hostname': (value, draft) => {
    draft.hostname = value;
    return as('firstBoot.hostname');
  },
  'Exec.PrivateUsers': privateUsers,
  '-U': (_value, draft) => privateUsers('pick', draft),
  'Files.PrivateUsersOwnership': value =>
    value === 'map'
      ? as('privateUsers')
      : as('privateUsers; the mount maps owners, no file is changed any more'),
  'Files.PrivateUsersChown': () => as('privateUsers; the mount maps owners, no file is changed any more'),
  'Exec.Capability': capability,
  'Exec.SystemCallFilter': filter,
  'Exec.LimitNOFILE': limit('nofile', countOf),
  'Exec.LimitNPROC': limit('nproc', countOf),
  'Exec.LinkJournal': value =>
    value === 'try-guest' ? as('the stock unit says so') : left('another place for its journal'),
  'Files.Bind': bind(false),
  'Files.BindReadOnly': bind(true),
  'Files.TemporaryFileSystem': (value, draft) => {
    const [target = '', options = ''] = colonWords(value, 1) ?? [];
    if (!target.startsWith('/')) return left('not a path');
    draft.mounts.push({ kind: 'tmpfs', target, options });
    return as('mounts');
  },
  'Files.Overlay': (value, draft) => {
    const paths = colonWords(value) ?? [];
    if (paths.length === 2) paths.push(paths[1] ?? '');
    const target = paths.pop() ?? '';
    if (paths.length < 2 || [...paths, target].some(path => !path.startsWith('/')))
      return left('a path inside of the tree, or none');
    draft.mounts.push({ kind: 'overlay', layers: paths, target });
    return as('mounts');
  },
  'Files.Inaccessible': (value, draft) => {
    if (!value.startsWith('/')) return left('not a path');
    draft.mounts.push({ kind: 'inaccessible', target: value });
    return as('mounts');
  },
  'Network.Private': (value, draft) => {
    draft.network.isPrivate = yes(value);
    return as('network');
  },
  'Network.VirtualEthernet': (value, draft) => {
    draft.network.veth = yes(value);
    return as('network');
  },
  'Network.Bridge': (value, draft) => {
    draft.network.bridge = value;
    return as('network');
  },
  'Network.Zone': (value, draft) => {
    draft.network.zone = value;
    return as('network');
  },
  'Network.Interface': network('Interface'),
  'Network.MACVLAN': network('MACVLAN'),
  'Network.IPVLAN': network('IPVLAN'),
  'Network.Port': (value, draft) => {
    const port = givenPort(value);
    if (!port || !publishes(draft.network)) return left('ports are published for nat alone');
    draft.network.ports.push(port);
    return as('network');
  },
  '--machine': () => as('the name'),
  '--directory': (value, draft) => {
    draft.tree = value;
    return as('from');
  },
  '--load-credential': (value, draft) => {
    const [, id = '', path = ''] = /^([\w.-]+):(.+)$/.exec(value) ?? [];
    if (!path.startsWith('/'))
      return draft.credentials.some(each => each.id === id) ? as('credentials') : left('not a path');
    draft.credentials.push({ id, path });
    return as('credentials');
  },
  '--quiet': () => as('the stock unit says so'),
  '--keep-unit': () => as('the stock unit says so'),
  '--settings': () => as('the stock unit says override'),
  '--register': value =>
    yes(value) ? as('the stock unit says so') : { left: 'machinectl shows machines', gone: true },
};

/** What the stock unit says, 252 to 257: given again it changes nothing. */
const stockUnit = new Set([
  'Service.KillMode=mixed',
  'Service.Type=notify',
  'Service.RestartForceExitStatus=133',
  'Service.SuccessExitStatus=133',
  'Service.Slice=machine.slice',
  'Service.Delegate=yes',
  'Service.DelegateSubgroup=supervisor',
  'Service.CoredumpReceive=yes',
  'Service.WatchdogSec=3min',
  'Service.DevicePolicy=closed',
  'Service.User=root',
  'Service.DeviceAllow=/dev/net/tun rwm',
  'Service.DeviceAllow=char-pts rw',
  'Service.DeviceAllow=/dev/loop-control rw',
  'Service.DeviceAllow=block-loop rw',
  'Service.DeviceAllow=block-blkext rw',
  'Service.DeviceAllow=/dev/mapper/control rw',
  'Service.DeviceAllow=block-device-mapper rw',
  'Unit.PartOf=machines.target',
  'Unit.Before=machines.target',
]);

/** The words of `DeviceAllow=`: a path, and letters. */
export const deviceWords = (value: string): string[] => commandWords(value.replaceAll('$', '$$$$'), '') ?? [];

const number = (value: string) => (/^\d+(\.\d+)?$/.test(value) ? Number(value) : undefined);

/** Lines of units. */
const unitReaders: Readonly<Record<string, Read>> = {
  'Service.MemoryMax': limit('memory', sizeOf),
  'Service.CPUQuota': limit('cpus', value => {
    const percent = number(value.replace(/%$/, ''));
    return value.endsWith('%') && percent !== undefined && percent > 0 ? percent / 100 : undefined;
  }),
  'Service.IOWeight': limit('ioWeight', countOf),
  'Service.TasksMax': limit('tasks', countOf),
  // systemd-nspawn gives its payload the limits of --rlimit alone; who wrote this meant the machine.
  'Service.LimitNOFILE': limit('nofile', countOf),
  'Service.LimitNPROC': limit('nproc', countOf),
  'Service.DeviceAllow': (value, draft) => {
    const [path = '', access = 'rwm'] = deviceWords(value);
    if (draft.devices.some(device => device.path === path)) return as('devices');
    const isBound = (mount: Mount) =>
      mount.kind === 'bind' && mount.source === path && access === (mount.readOnly ? 'r' : 'rw');
    return draft.mounts.some(isBound) ? as('mounts') : left('no node of this name is bound into the machine');
  },
  'Service.LoadCredential': (value, draft) => {
    const [, id = '', path = ''] = /^([\w.-]+):(.+)$/.exec(value) ?? [];
    if (!path.startsWith('/')) return left('not a path');
    draft.credentials.push({ id, path: path.replaceAll('%%', '%') });
    return as('credentials');
  },
  'Service.Environment': (value, draft) => {
    const [, mac] = /^SYSTEMD_NSPAWN_NETWORK_MAC=([0-9a-f:]{17})$/i.exec(value) ?? [];
    if (mac === undefined) return left('of systemd-nspawn itself, not of the machine');
    draft.network.mac = mac;
    return as('network');
  },
  'Service.ExecStartPre': (value, draft) => {
    if (takesPortsBack(value) || published(value, draft)) return as('network');
    const seconds = delayOf(commandWords(value, draft.name) ?? []);
    if (seconds === undefined) return left('not a setting of machines');
    draft.delay = seconds;
    return as('autostart.delay');
  },
  'Service.ExecStart': service,
  'Service.ExecStopPost': value =>
    value === forgetExport
      ? as('spawnlet adds it to each')
      : takesPortsBack(value)
        ? as('network')
        : left('not a setting of machines'),
  'Service.TimeoutStartSec': (value, _draft, { recorded }) =>
    recorded && isStartTimeout(value) ? as('start') : left('not a setting of machines'),
  'Unit.Description': () => as('the stock unit has one'),
  'Unit.Documentation': () => as('the stock unit has one'),
  'Unit.RequiresMountsFor': () => as('mounts: spawnlet adds it for each'),
  'Unit.After': after,
  'Unit.Wants': after,
  'Unit.Requires': after,
  'Unit.BindsTo': after,
  'Install.WantedBy': (_value, draft) => {
    draft.enabled = true;
    return as('enabled');
  },
  'X-Spawnlet.FormatVersion': () => as('made by spawnlet'),
  'X-Spawnlet.Profiles': () => as('profiles'),
  'X-Spawnlet.PrivateUsers': (_value, draft) => {
    draft.chosen = true;
    return as('privateUsers');
  },
  'X-Spawnlet.Order': (value, draft) => {
    draft.order = Number(value);
    return as('autostart.order');
  },
  'X-Spawnlet.Delay': (value, draft) => {
    draft.delay = Number(value);
    return as('autostart.delay');
  },
};

/** Takes ports that a line publishes, once each: there is a line for each family of addresses. */
function published(value: string, { network: { ports } }: Draft): boolean {
  const found = portsIn([value]);
  const isNew = (port: PublishedPort) => !ports.some(one => JSON.stringify(one) === JSON.stringify(port));
  ports.push(...found.filter(isNew));
  return found.length > 0;
}

/** Ordering after what every machine is ordered after, or what spawnlet adds for its network. */
function after(value: string, _draft: Draft, { recorded }: Context): Reading {
  const known =
    /^(network(-online)?\.target|nss-lookup\.target|modprobe@.*\.service|sys-subsystem-net-devices-.*\.device)$/;
  const other = (name: string) => recorded && /^(systemd-nspawn@.*|spawnlet-.*)\.service$/.test(name);
  return value.split(/\s+/).every(name => name === '' || known.test(name) || other(name))
    ? as('spawnlet orders machines so')
    : left('not a setting of machines');
}

/** Puts one line into the draft. */
export function read(setting: Setting, draft: Draft, context: Context): Reading {
  const { id, value } = setting;
  const line = `${id}=${value}`;
  const owner = context.profileLines.get(line);
  if (owner !== undefined && !id.startsWith('Exec.')) return as(`profiles: ${owner}`);
  if (stockUnit.has(line)) return as('the stock unit says so');
  const reader = readers[id] ?? unitReaders[id];
  if (reader) return reader(value, draft, context);
  const option = keyOf(id) ?? optionOf(id);
  if (option)
    return { left: option.leftOut ?? 'not understood', ...(option.key === undefined && { gone: true }) };
  return left('not a setting of machines');
}
