/** Flags of `machine create` and short keys of `machine set`, as changes to a spec. */

import { parseEnv } from '../app/request.ts';
import { SpawnletError } from '../host/error.ts';
import { formatTreeSource, parseTreeSource } from '../image/tree/source.ts';
import { plainMachine } from './fields.ts';
import { type Caller, parseMount, parsePair, parseUser, take, wrong } from './flag-forms.ts';
import { parseNetwork, withPorts } from './network-flags.ts';
import { setField, validated } from './setting.ts';
import type { MachineSpec, TreeSource } from './spec.ts';
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
  /** Lines of `.pub` files. */
  readonly 'ssh-key'?: readonly string[];
  readonly user?: readonly string[];
  readonly copy?: readonly string[];
  readonly run?: readonly string[];
  readonly 'cloud-init'?: string | undefined;
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
    changed = setField(changed, field, value, caller.directory, `--${flag}`);
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
  if (/password/i.test(key))
    throw new SpawnletError('ERR_FLAG_VALUE', 'no password is set by a word that every user can see', {
      hint: `spawnlet machine passwd ${spec.name}`,
    });
  if ((lists as readonly string[]).includes(key) && value !== '')
    return validated(withListed(spec, key, value, caller), `${key}=${value}`);
  const field = key === 'enable' ? 'enabled' : (fieldOf as Readonly<Record<string, string>>)[key];
  return setField(spec, field ?? key, value, caller.directory, key);
}

/** One more entry of a list; an error has the key as it was written, without the dashes of a flag. */
function withListed(spec: MachineSpec, key: string, value: string, caller: Caller): MachineSpec {
  try {
    return withFlags(spec, { [key]: [value] }, caller);
  } catch (error) {
    if (!(error instanceof SpawnletError && error.message.startsWith(`--${key} `))) throw error;
    const { code, message, hint = '', cause } = error;
    throw new SpawnletError(code, message.slice(2), { hint, cause });
  }
}
