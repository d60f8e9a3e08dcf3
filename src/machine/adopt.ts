import { machinesDirectory } from '../names.ts';
import { adoptedNetwork } from './adoption/network.ts';
import { type Context, type Draft, deviceWords, no, read, yes } from './adoption/readers.ts';
import { commandSettings, merged, type Setting, type SourceFile, settingsOf } from './adoption/settings.ts';
import type { AdoptedLine, AdoptReport } from './api.ts';
import { stockCommand } from './drop-in.ts';
import type { GpuFacts, KeptLine } from './lines.ts';
import { type ProfileLine, profile } from './profiles.ts';
import { type MachineSpec, type ProfileName, profileNames } from './spec.ts';

/** What is known of a machine that spawnlet has not made. */
export interface AdoptSource {
  readonly name: string;
  /** `/etc/systemd/nspawn/NAME.nspawn`, if there is one. */
  readonly nspawn?: SourceFile;
  /** A unit by hand, then drop-ins, in the order in which systemd reads them; without the stock unit. */
  readonly units: readonly SourceFile[];
  readonly enabled: boolean;
  /** A link in /var/lib/machines leads there. */
  readonly tree?: string;
  readonly gpu: GpuFacts;
}

export interface Adopted extends AdoptReport {
  /** What was left alone and still counts: of `Exec`, `Files`, `Network` for {@link MachineFacts}, else for a drop-in by hand. */
  readonly kept: readonly KeptLine[];
}

const wordsOf = (lines: readonly ProfileLine[], key: string) =>
  lines.filter(line => line.place === 'Exec' && line.key === key).flatMap(line => line.value.split(' '));

/** A host that has all that profiles ask for, so that each line of theirs is known again. */
function contextOf(
  source: AdoptSource,
  settings: readonly Setting[],
  profiles: readonly ProfileName[],
): Context {
  const host = {
    devices: ['/dev/kvm', '/dev/vhost-net', '/dev/vhost-vsock', '/dev/net/tun'],
    modules: 'apparmor',
    cgroups: 'mixed',
    gpu: source.gpu,
  } as const;
  const lines = profiles.map(
    name => [name, profile(name, { name: source.name, host, overlay: true })] as const,
  );
  const access = settings
    .filter(({ id }) => id === 'Service.DeviceAllow')
    .map(({ value }) => {
      const [path = '', letters = 'rwm'] = deviceWords(value);
      return [path, letters] as const;
    });
  return {
    access: new Map(access),
    profileLines: new Map(
      lines.flatMap(([name, all]) =>
        all.map(line => [`${line.place}.${line.key}=${line.value}`, name] as const),
      ),
    ),
    systemCalls: new Map(lines.map(([name, all]) => [name, wordsOf(all, 'SystemCallFilter')])),
    capabilities: new Map(
      lines.flatMap(([name, all]) => wordsOf(all, 'Capability').map(word => [word, name] as const)),
    ),
    recorded: settings.some(({ id }) => id === 'X-Spawnlet.FormatVersion'),
  };
}

/** As recorded, or the profiles that say no less than the lines do. */
function profilesOf(settings: readonly Setting[]): ProfileName[] {
  const recorded = settings.find(({ id }) => id === 'X-Spawnlet.Profiles');
  const named = recorded?.value.split(' ') ?? [];
  if (recorded) return profileNames.filter(name => named.includes(name));
  const words = (id: string) =>
    settings.filter(setting => setting.id === id).flatMap(({ value }) => value.split(/\s+/).filter(Boolean));
  const calls = words('Exec.SystemCallFilter');
  const isKnown = calls.every(word =>
    /^(@keyring|add_key|keyctl|request_key|bpf|perf_event_open)$/.test(word),
  );
  const keyrings = calls.some(word => /key/.test(word));
  return profileNames.filter(
    name =>
      name === 'default' ||
      (name === 'privileged' && words('Exec.Capability').includes('all')) ||
      (name === 'nested' && isKnown && keyrings) ||
      (name === 'ebpf' && isKnown && (calls.includes('perf_event_open') || (calls.length > 0 && !keyrings))),
  );
}

/** Keys that others are read by come first. */
const first = [
  'Exec.PrivateUsers',
  '-U',
  'Exec.Boot',
  'Network.VirtualEthernet',
  'Network.Bridge',
  'Network.Zone',
];
const last = ['Service.DeviceAllow', '--load-credential'];
const rank = ({ id }: Setting) => (first.includes(id) ? 0 : last.includes(id) ? 2 : 1);

/** systemd-nspawn reads `Parameters=` of a file only if that says what is started. */
function startingOf(settings: readonly Setting[]): { counting: Setting[]; idle: Setting[] } {
  const says = settings.some(({ id }) => id === 'Exec.Boot' || id === 'Exec.ProcessTwo');
  const counts = ({ id }: Setting) => says || id !== 'Exec.Parameters';
  return { counting: settings.filter(counts), idle: settings.filter(setting => !counts(setting)) };
}

const keptOf = ({ id, value }: Setting): KeptLine => {
  const dot = id.indexOf('.');
  return { section: id.slice(0, dot), key: id.slice(dot + 1), value };
};

function newDraft(source: AdoptSource): Draft {
  return {
    name: source.name,
    ...(source.tree !== undefined && { tree: source.tree }),
    start: { kind: 'boot' },
    boot: false,
    users: { kind: 'no' },
    chosen: false,
    enabled: source.enabled,
    profiles: [],
    network: { isPrivate: false, veth: false, interfaces: [], ports: [] },
    mounts: [],
    limits: {},
    devices: [],
    capabilities: [],
    environment: {},
    credentials: [],
  };
}

function specOf(draft: Draft): MachineSpec {
  const { name, tree = `${machinesDirectory}/${draft.name}`, order, delay, hostname } = draft;
  return {
    name,
    from: { kind: 'directory', path: tree },
    start: draft.boot ? { kind: 'boot' } : { kind: 'command', argv: draft.parameters ?? [] },
    enabled: draft.enabled,
    autostart: { ...(order !== undefined && { order }), ...(delay !== undefined && { delay }) },
    ...(!draft.chosen && { privateUsers: draft.users }),
    network: adoptedNetwork(draft.network),
    mounts: draft.mounts,
    limits: draft.limits,
    devices: draft.devices,
    profiles: draft.profiles,
    capabilities: draft.capabilities,
    environment: draft.environment,
    credentials: draft.credentials,
    firstBoot: { ...(hostname !== undefined && { hostname }), sshKeys: [], users: [], copy: [], run: [] },
  };
}

/**
 * A machine's spec from the files that make it: `.nspawn`, drop-ins of the stock unit, or a unit by hand. Each line of them is in the
 * report, with the field that it became or why it was left alone. Reads, and changes nothing.
 */
export function adopt(source: AdoptSource): Adopted {
  const inUnits = source.units.flatMap(settingsOf);
  const { counting: inFile, idle } = startingOf(source.nspawn ? settingsOf(source.nspawn) : []);
  // An empty assignment takes back those before it.
  const starts = inUnits.filter(({ id }) => id === 'Service.ExecStart');
  const exec = starts.findLast(({ value }) => value !== '');
  const stock: Setting = {
    id: 'Service.ExecStart',
    value: stockCommand.join(' '),
    where: 'systemd-nspawn@.service',
    text: '',
  };
  const command = commandSettings(exec ?? stock, source.name);
  const given = command?.settings ?? [];
  const mode = given.find(({ id }) => id === '--settings')?.value ?? 'yes';
  const isFileRead = !no(mode);
  const { counts, ignored } =
    mode === 'override' ? merged(inFile, given) : merged(given, isFileRead ? inFile : []);
  const all = [...counts, ...inUnits.filter(setting => command === undefined || setting !== exec)];

  const draft = newDraft(source);
  draft.profiles = profilesOf(all);
  draft.boot = all.some(({ id, value }) => id === 'Exec.Boot' && yes(value));
  const context = contextOf(source, all, draft.profiles);

  const lines: AdoptedLine[] = [];
  const kept: KeptLine[] = [];
  const tell = (setting: Setting, verdict: AdoptedLine['verdict'], why: string) => {
    // The words of the stock unit are nobody's.
    if (setting.where !== stock.where)
      lines.push({ where: setting.where, text: setting.text, verdict, as: why });
  };
  for (const setting of all.toSorted((one, other) => rank(one) - rank(other))) {
    const reading = read(setting, draft, context);
    if ('as' in reading) tell(setting, 'understood', reading.as);
    else {
      tell(setting, 'left alone', reading.left);
      if (!reading.gone && setting.id.includes('.')) kept.push(keptOf(setting));
    }
  }
  const stockWords: readonly string[] = stockCommand;
  for (const setting of [...ignored, ...idle, ...(isFileRead ? [] : inFile)])
    if (stockWords.includes(setting.text)) tell(setting, 'understood', 'the stock unit says so');
    else tell(setting, 'left alone', 'it does not count: another line takes its place');
  for (const setting of command?.unknown ?? [])
    tell(setting, 'left alone', 'no option of systemd-nspawn 252 to 257, or not fixed');
  return { spec: specOf(draft), lines: inOrder(lines), kept };
}

/** By file and line. */
function inOrder(lines: readonly AdoptedLine[]): AdoptedLine[] {
  const place = ({ where }: AdoptedLine) => {
    const colon = where.lastIndexOf(':');
    return [where.slice(0, colon), Number(where.slice(colon + 1))] as const;
  };
  const files = [...new Set(lines.map(line => place(line)[0]))];
  return lines.toSorted((one, other) => {
    const [a, b] = [place(one), place(other)];
    return files.indexOf(a[0]) - files.indexOf(b[0]) || a[1] - b[1];
  });
}
