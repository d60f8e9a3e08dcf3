/** Flags of `machine create` and short keys of `machine set`, as changes to a spec. */

import { parseEnv } from '../app/request.ts';
import { SpawnletError } from '../host/error.ts';
import { formatTreeSource, parseTreeSource } from '../image/tree/source.ts';
import { named, plainMachine } from './fields.ts';
import { setField, validated } from './setting.ts';
import { Expected } from './shape.ts';
import type { Interface, InterfaceKind, MachineSpec, Mount, Network, TreeSource, User } from './spec.ts';
import * as values from './values.ts';

/** What a command line says beside names; texts as they were written. */
export interface MachineFlags {
  readonly from?: string | undefined;
  readonly directory?: string | undefined;
  readonly sha256?: string | undefined;
  readonly packages?: readonly string[];
  readonly components?: readonly string[];
  readonly mirror?: string | undefined;
  readonly keyring?: string | undefined;
  readonly insecure?: boolean;
  readonly network?: readonly string[];
  readonly publish?: readonly string[];
  readonly bind?: readonly string[];
  readonly 'bind-ro'?: readonly string[];
  readonly tmpfs?: readonly string[];
  readonly overlay?: readonly string[];
  readonly inaccessible?: readonly string[];
  readonly 'private-users'?: string | undefined;
  readonly memory?: string | undefined;
  readonly cpus?: string | undefined;
  readonly 'io-weight'?: string | undefined;
  readonly tasks?: string | undefined;
  readonly nofile?: string | undefined;
  readonly nproc?: string | undefined;
  readonly device?: readonly string[];
  readonly profile?: readonly string[];
  readonly capability?: readonly string[];
  readonly env?: readonly string[];
  readonly credential?: readonly string[];
  readonly enable?: boolean;
  readonly 'autostart-order'?: string | undefined;
  readonly 'autostart-delay'?: string | undefined;
  readonly hostname?: string | undefined;
  readonly timezone?: string | undefined;
  readonly locale?: string | undefined;
  readonly 'password-hash'?: string | undefined;
  /** Lines of `.pub` files. */
  readonly 'ssh-key'?: readonly string[];
  readonly user?: readonly string[];
  readonly copy?: readonly string[];
  readonly run?: readonly string[];
  readonly 'cloud-init'?: string | undefined;
}

/** Where a command was given: what relative paths and `-e NAME` are taken from. */
export interface Caller {
  readonly directory: string;
  readonly environment: NodeJS.ProcessEnv;
}

/** Flags with one value: each is another word for a field. */
const fieldOf = {
  'private-users': 'privateUsers',
  memory: 'limits.memory',
  cpus: 'limits.cpus',
  'io-weight': 'limits.ioWeight',
  tasks: 'limits.tasks',
  nofile: 'limits.nofile',
  nproc: 'limits.nproc',
  'autostart-order': 'autostart.order',
  'autostart-delay': 'autostart.delay',
  hostname: 'firstBoot.hostname',
  timezone: 'firstBoot.timezone',
  locale: 'firstBoot.locale',
  'password-hash': 'firstBoot.rootPasswordHash',
  'cloud-init': 'firstBoot.cloudInit',
} as const;

/** Flags that add to a list. */
const lists = [
  'network',
  'publish',
  'bind',
  'bind-ro',
  'tmpfs',
  'overlay',
  'inaccessible',
  'device',
  'profile',
  'capability',
  'env',
  'credential',
  'ssh-key',
  'user',
  'copy',
  'run',
] as const;

const wrong = (flag: string, text: string, hint: string) =>
  new SpawnletError('ERR_FLAG_VALUE', `--${flag} does not take '${text}'`, { hint });

/** The value of a flag, or `ERR_FLAG_VALUE` with what it takes. */
function take<T>(flag: string, text: string, parse: (text: string) => T): T {
  try {
    return parse(text);
  } catch (error) {
    if (!(error instanceof Expected)) throw error;
    throw wrong(flag, text, error.message);
  }
}

/** Parts between colons; `\:` is a colon, as in systemd-nspawn's own flags. */
const split = (text: string): string[] =>
  [...`${text}:`.matchAll(/((?:\\.|[^\\:])*):/g)].map(([, part = '']) => part.replaceAll(/\\([\\:])/g, '$1'));

type MountFlag = 'bind' | 'bind-ro' | 'tmpfs' | 'overlay' | 'inaccessible';

/** `SRC[:DST]`, `DST[:OPTIONS]`, `LOWER:…:UPPER:DST`, `PATH`. */
function parseMount(flag: MountFlag, text: string, { directory }: Caller): Mount {
  const parts = split(text);
  const [first = '', second] = parts;
  const atMost = (count: number, example: string) => {
    if (parts.length > count) throw new Expected(`as in --${flag} ${example}; \\: is a colon of a path`);
  };
  switch (flag) {
    case 'bind':
    case 'bind-ro': {
      atMost(2, '/srv/www:/var/www');
      const source = values.parseHostPath(first, directory);
      return {
        kind: 'bind',
        source,
        target: values.parseInnerPath(second ?? source),
        readOnly: flag === 'bind-ro',
      };
    }
    case 'tmpfs':
      atMost(2, '/scratch:size=64m');
      return {
        kind: 'tmpfs',
        target: values.parseInnerPath(first),
        options: values.parseTmpfsOptions(second ?? ''),
      };
    case 'overlay': {
      if (parts.length < 3)
        throw new Expected('LOWER:UPPER:DST, with more lower directories in front if need be');
      const layers = parts.slice(0, -1).map(path => values.parseHostPath(path, directory));
      return { kind: 'overlay', layers, target: values.parseInnerPath(parts.at(-1) ?? '') };
    }
    case 'inaccessible':
      atMost(1, '/sys/firmware');
      return { kind: 'inaccessible', target: values.parseInnerPath(first) };
  }
}

const networkForms =
  'host, none, nat, bridge=BR, ovs=BR[,vlan=N], macvlan=IF, ipvlan=IF, zone=Z or physical=IF; then ' +
  'name=, mac=, address=, gateway=, dns= (the last three more than once) or dhcp, with commas between';

/** An interface as a word with sub-options has it; its name where one was given. */
type WrittenInterface = InterfaceKind & Omit<Interface, 'name' | 'kind'> & { readonly name?: string };

/** `bridge=br0,address=192.0.2.7/24,gateway=192.0.2.1`. Throws {@link Expected}. */
export function parseInterface(text: string): WrittenInterface {
  const [head = '', ...rest] = text.split(',');
  const options = new Map<string, string[]>();
  for (const part of rest) {
    const [key = '', value] = part.split(/=(.*)/s, 2);
    options.set(key, [...(options.get(key) ?? []), value ?? '']);
  }
  const all = (key: string): string[] => {
    const found = options.get(key) ?? [];
    options.delete(key);
    return found;
  };
  const one = (key: string): string | undefined => {
    const [found, ...more] = all(key);
    if (more.length > 0) throw new Expected(`${key}= once`);
    return found;
  };
  const kind = parseKind(head, one);
  const dhcp = all('dhcp');
  const cidrs = all('address').map(values.parseCidr);
  if (dhcp.some(value => value !== '') || (dhcp.length > 0 && cidrs.length > 0))
    throw new Expected('dhcp, or address=: one of them');
  const [name, mac] = [one('name'), one('mac')];
  const written: WrittenInterface = {
    ...kind,
    addresses: dhcp.length > 0 ? 'dhcp' : cidrs,
    gateways: all('gateway').map(values.parseAddress),
    dns: all('dns').map(values.parseAddress),
    ...(name !== undefined && { name: values.parseInterfaceName(name) }),
    ...(mac !== undefined && { mac: values.parseMac(mac) }),
  };
  const [unknown] = options.keys();
  if (unknown !== undefined) throw new Expected(networkForms);
  return written;
}

function parseKind(head: string, one: (key: string) => string | undefined): InterfaceKind {
  const [kind = '', value] = head.split(/=(.*)/s, 2);
  if (kind === 'nat' && value === undefined) return { kind, ports: [] };
  if (value === undefined) throw new Expected(networkForms);
  switch (kind) {
    case 'bridge':
      return { kind, bridge: values.parseInterfaceName(value) };
    case 'ovs': {
      const vlan = one('vlan');
      if (vlan !== undefined && !/^\d{1,4}$/.test(vlan)) throw new Expected('vlan= from 1 to 4094');
      return {
        kind,
        bridge: values.parseInterfaceName(value),
        ...(vlan !== undefined && { vlan: Number(vlan) }),
      };
    }
    case 'macvlan':
    case 'ipvlan':
      return { kind, parent: values.parseInterfaceName(value) };
    case 'zone':
      return { kind, zone: values.parseZone(value) };
    case 'physical':
      return { kind, interface: values.parseInterfaceName(value) };
    default:
      throw new Expected(networkForms);
  }
}

function parseNetwork(texts: readonly string[]): Network {
  const [first = ''] = texts;
  const alone = texts.find(text => text === 'host' || text === 'none');
  if (alone !== undefined) {
    if (texts.length === 1) return { kind: alone === 'host' ? 'host' : 'none' };
    throw new SpawnletError('ERR_FLAG_CONFLICT', `--network ${alone} goes with no other --network`, {
      hint: 'leave one of them out',
    });
  }
  const written = texts.map(text => take('network', text, parseInterface));
  return { kind: 'private', interfaces: take('network', first, () => named(written)) };
}

/** Ports are those of the first interface with NAT. */
function withPorts(network: Network, texts: readonly string[]): Network {
  const ports = texts.map(text => take('publish', text, values.parsePort));
  const interfaces = network.kind === 'private' ? network.interfaces : [];
  const at = interfaces.findIndex(({ kind }) => kind === 'nat');
  const nat = interfaces[at];
  if (nat?.kind === 'nat')
    return {
      kind: 'private',
      interfaces: interfaces.toSpliced(at, 1, { ...nat, ports: [...nat.ports, ...ports] }),
    };
  throw new SpawnletError('ERR_FLAG_CONFLICT', '--publish needs an interface with NAT', {
    hint: 'add --network nat; on a bridge, or with the network of the host, ports are open as they are',
  });
}

/** `NAME[:uid=1000,group=sudo,shell=/bin/bash]`. */
function parseUser(text: string): User {
  const [name = '', options = ''] = text.split(/:(.*)/s, 2);
  const groups: string[] = [];
  let user: Omit<User, 'groups'> = { name: values.parseUserName(name), sshKeys: [] };
  for (const option of options.split(',').filter(Boolean)) {
    const [key = '', value = ''] = option.split(/=(.*)/s, 2);
    if (key === 'uid' && /^\d{1,10}$/.test(value)) user = { ...user, uid: Number(value) };
    else if (key === 'group') groups.push(values.parseUserName(value));
    else if (key === 'shell') user = { ...user, shell: values.parseInnerPath(value) };
    else throw new Expected('NAME, or NAME:uid=1000,group=sudo,shell=/bin/bash (group= more than once)');
  }
  return { ...user, groups };
}

/** `A:B`, both there. */
function parsePair(text: string, example: string): readonly [string, string] {
  const [first = '', second = '', ...more] = split(text);
  if (first !== '' && second !== '' && more.length === 0) return [first, second];
  throw new Expected(`as in ${example}`);
}

/** The source of `--from` or `--directory`. Throws `ERR_USAGE` if there is neither. */
function sourceOf(flags: MachineFlags, { directory }: Caller): TreeSource {
  if (flags.from !== undefined && flags.directory !== undefined)
    throw new SpawnletError('ERR_FLAG_CONFLICT', '--from and --directory do not go together', {
      hint: 'leave one of them out',
    });
  if (flags.directory !== undefined)
    return {
      kind: 'directory',
      path: take('directory', flags.directory, path => values.parseHostPath(path, directory)),
    };
  if (flags.from === undefined)
    throw new SpawnletError('ERR_USAGE', 'machine create needs --from SOURCE, or --directory PATH', {
      hint: 'as in --from debian:bookworm, --from base:NAME, --from machine:NAME, --from oci:IMAGE',
    });
  const from = parseTreeSource(flags.from, directory);
  if (flags.sha256 === undefined) return from;
  if (from.kind !== 'tar' || !/^[0-9a-f]{64}$/i.test(flags.sha256))
    throw wrong('sha256', flags.sha256, 'the 64 hex digits of a tar: source');
  return { ...from, sha256: flags.sha256.toLowerCase() };
}

function buildOf(flags: MachineFlags, { directory }: Caller): Pick<MachineSpec, 'build'> {
  const { packages = [], components = [], mirror, keyring, insecure = false } = flags;
  if (packages.length + components.length === 0 && !mirror && !keyring && !insecure) return {};
  const words = (texts: readonly string[]) => texts.flatMap(text => text.split(',')).filter(Boolean);
  return {
    build: {
      packages: words(packages),
      components: words(components),
      ...(mirror !== undefined && { mirror }),
      ...(keyring !== undefined && {
        keyring: take('keyring', keyring, path => values.parseHostPath(path, directory)),
      }),
      insecure,
    },
  };
}

/**
 * The machine that a command line describes; `command` is what `--no-boot` runs, empty to boot.
 *
 * @throws ERR_USAGE, ERR_FLAG_VALUE, ERR_FLAG_CONFLICT, ERR_TREE_SOURCE
 */
export function machineOf(
  name: string,
  flags: MachineFlags,
  command: readonly string[],
  caller: Caller,
): MachineSpec {
  const plain: MachineSpec = {
    ...plainMachine(name, sourceOf(flags, caller)),
    ...buildOf(flags, caller),
    ...(command.length > 0 && { start: { kind: 'command', argv: command } }),
  };
  return validated(withFlags(plain, flags, caller), formatTreeSource(plain.from));
}

/** A machine with what flags say: one value replaces, lists are added to; `--network` replaces all interfaces. */
export function withFlags(spec: MachineSpec, flags: MachineFlags, caller: Caller): MachineSpec {
  let changed: MachineSpec = flags.enable === undefined ? spec : { ...spec, enabled: flags.enable };
  for (const [flag, field] of Object.entries(fieldOf) as [keyof typeof fieldOf, string][]) {
    const value = flags[flag];
    if (value === undefined) continue;
    if (value === '') throw wrong(flag, value, 'leave it out for what it is anyway');
    changed = take(flag, value, text => setField(changed, field, text, caller.directory));
  }
  const all = <T>(flag: (typeof lists)[number], parse: (text: string) => T): T[] =>
    (flags[flag] ?? []).map(text => take(flag, text, parse));
  const mounted = (['bind', 'bind-ro', 'tmpfs', 'overlay', 'inaccessible'] as const).flatMap(flag =>
    all(flag, text => parseMount(flag, text, caller)),
  );
  const targets = new Set(mounted.map(({ target }) => target));
  const network = flags.network?.length ? parseNetwork(flags.network) : changed.network;
  const host = (path: string) => values.parseHostPath(path, caller.directory);
  const { firstBoot } = changed;
  return {
    ...changed,
    network: flags.publish?.length ? withPorts(network, flags.publish) : network,
    mounts: [...changed.mounts.filter(({ target }) => !targets.has(target)), ...mounted],
    devices: [...changed.devices, ...all('device', values.parseDevice)],
    profiles: [...new Set([...changed.profiles, ...all('profile', values.parseProfile)])],
    capabilities: [...new Set([...changed.capabilities, ...all('capability', values.parseCapability)])],
    environment: { ...changed.environment, ...environmentOf(flags.env ?? [], caller) },
    credentials: [
      ...changed.credentials,
      ...all('credential', text => {
        const [id, path] = parsePair(text, '--credential db.password:/etc/db.password');
        return { id: values.parseCredentialId(id), path: host(path) };
      }),
    ],
    firstBoot: {
      ...firstBoot,
      sshKeys: [...firstBoot.sshKeys, ...all('ssh-key', values.parseSshKey)],
      users: [...firstBoot.users, ...all('user', parseUser)],
      copy: [
        ...firstBoot.copy,
        ...all('copy', text => {
          const [source, target] = parsePair(text, '--copy ./motd:/etc/motd');
          return { source: host(source), target: values.parseInnerPath(target) };
        }),
      ],
      run: [...firstBoot.run, ...all('run', host)],
    },
  };
}

function environmentOf(texts: readonly string[], { environment }: Caller): Record<string, string> {
  const pairs = texts.flatMap(text => {
    const entry = parseEnv(text, environment);
    if (entry === undefined) return [];
    const [name = '', value = ''] = entry.split(/=(.*)/s, 2);
    return [take('env', text, () => [values.parseVariable(name), values.parseLine(value)] as const)];
  });
  return Object.fromEntries(pairs);
}

/**
 * A machine after `set KEY=VALUE`: the key is a field's path, or the name of a flag.
 *
 * @throws ERR_FLAG_VALUE
 */
export function withSetting(spec: MachineSpec, key: string, value: string, caller: Caller): MachineSpec {
  if ((lists as readonly string[]).includes(key) && value !== '')
    return validated(withFlags(spec, { [key]: [value] }, caller), `${key}=${value}`);
  const field = key === 'enable' ? 'enabled' : (fieldOf as Readonly<Record<string, string>>)[key];
  return setField(spec, field ?? key, value, caller.directory);
}
