/** The one table of `kind: Machine`: the parser, the writer, the JSON schema and `machine set` go by it. */

import { SpawnletError } from '../host/error.ts';
import { recipeOf } from '../image/tree/recipe.ts';
import { formatTreeSource, parseTreeSource } from '../image/tree/source.ts';
import { boolean, choice, Expected, number, type Shape, text, textOrNumber } from './shape.ts';
import {
  type Addressing,
  type Credential,
  type FirstBoot,
  type Interface,
  type InterfaceKind,
  type MachineLimits,
  type MachineSpec,
  type Mount,
  type Network,
  type ProfileName,
  profileNames,
  type TreeBuild,
  type TreeSource,
  type User,
} from './spec.ts';
import {
  defaulted,
  dictionary,
  list,
  mapped,
  needed,
  optional,
  record,
  tagged,
  wordOr,
} from './structure.ts';
import * as values from './values.ts';

const same = (value: string) => value;
const most = Number.POSITIVE_INFINITY;

const line = text(values.parseLine, same);
const hostPath = text(values.parseHostPath, same);
const innerPath = text(values.parseInnerPath, same);

/** A parser of flags that tells its error in {@link SpawnletError}s. */
function expecting<T>(parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    if (!(error instanceof SpawnletError)) throw error;
    throw new Expected(error.hint ? `${error.message}: ${error.hint}` : error.message);
  }
}

const source: Shape<TreeSource> = text(
  (value, directory) => expecting(() => parseTreeSource(value, directory)),
  formatTreeSource,
);

const build = record<TreeBuild>({
  packages: defaulted(list(line), [], 'beside those that every machine has'),
  components: defaulted(list(line), [], 'of a Debian archive: main, universe'),
  mirror: optional(line, 'where packages come from'),
  keyring: optional(hostPath, 'what they are signed with'),
  insecure: defaulted(boolean, false, 'a URL without checksum or signature is taken'),
});

const addressing = {
  addresses: defaulted(
    wordOr(['dhcp'], list(text(values.parseCidr, same))),
    [],
    'dhcp, or addresses with their prefix',
  ),
  gateways: defaulted(list(text(values.parseAddress, same)), []),
  dns: defaulted(list(text(values.parseAddress, same)), [], 'addresses of name servers'),
} as const;

/** An interface as it is written: the name only if it is another than {@link defaultInterfaceName}. */
type WrittenInterface = InterfaceKind & Addressing & { readonly name?: string; readonly mac?: string };

const anyInterface = {
  ...addressing,
  name: optional(text(values.parseInterfaceName, same), 'inside of the machine'),
  mac: optional(text(values.parseMac, same)),
} as const;
const device = needed(text(values.parseInterfaceName, same));

const writtenInterface = tagged<WrittenInterface>({
  nat: {
    ...anyInterface,
    ports: defaulted(
      list(text(values.parsePort, values.formatPort)),
      [],
      '[ADDRESS:]HOSTPORT:PORT[/udp], as in 8080:80',
    ),
  },
  bridge: { ...anyInterface, bridge: device },
  ovs: { ...anyInterface, bridge: device, vlan: optional(number(1, 4094)) },
  macvlan: { ...anyInterface, parent: device },
  ipvlan: { ...anyInterface, parent: device },
  zone: { ...anyInterface, zone: needed(text(values.parseZone, same)) },
  physical: { ...anyInterface, interface: device },
});

/** The name of an interface inside: systemd-nspawn's own; `host0`, `host1`, … for veths in their order. */
export function defaultInterfaceName(one: InterfaceKind, before: readonly InterfaceKind[]): string {
  if (one.kind === 'physical') return one.interface;
  if (one.kind === 'macvlan') return `mv-${one.parent}`.slice(0, 15);
  if (one.kind === 'ipvlan') return `iv-${one.parent}`.slice(0, 15);
  const veths = before.filter(({ kind }) => !['physical', 'macvlan', 'ipvlan'].includes(kind));
  return `host${veths.length}`;
}

/** Gives each interface its name. Throws {@link Expected} where two have the same. */
export function named(written: readonly WrittenInterface[]): Interface[] {
  const interfaces = written.map((one, at) => ({
    ...one,
    name: one.name ?? defaultInterfaceName(one, written.slice(0, at)),
  }));
  const names = interfaces.map(({ name }) => name);
  const twice = names.find((name, at) => names.indexOf(name) < at);
  if (twice !== undefined) throw new Expected(`has two interfaces ${twice}: give one of them another name`);
  return interfaces;
}

const unnamed = (interfaces: readonly Interface[]): WrittenInterface[] =>
  interfaces.map((one, at) => {
    const { name, ...rest } = one;
    return name === defaultInterfaceName(one, interfaces.slice(0, at)) ? rest : one;
  });

type WrittenNetwork = 'host' | 'none' | { readonly interfaces: readonly WrittenInterface[] };

const network: Shape<Network> = mapped(
  wordOr<'host' | 'none', Exclude<WrittenNetwork, string>>(
    ['host', 'none'],
    record({ interfaces: needed(list(writtenInterface)) }),
  ),
  (written): Network =>
    typeof written === 'string'
      ? { kind: written }
      : { kind: 'private', interfaces: named(written.interfaces) },
  (value): WrittenNetwork =>
    value.kind === 'private' ? { interfaces: unnamed(value.interfaces) } : value.kind,
);

/** A veth with NAT. */
export const defaultNetwork: Network = {
  kind: 'private',
  interfaces: [{ kind: 'nat', ports: [], ...values.unaddressed, name: 'host0' }],
};

const layers = mapped(
  list(hostPath),
  (paths): readonly string[] => {
    if (paths.length < 2) throw new Expected('needs a lower directory at least, and the upper one');
    return paths;
  },
  paths => paths,
);

const mount = tagged<Mount>({
  bind: {
    source: needed(hostPath, 'on the host'),
    target: needed(innerPath),
    readOnly: defaulted(boolean, false),
  },
  tmpfs: { target: needed(innerPath), options: defaulted(text(values.parseTmpfsOptions, same), '') },
  overlay: {
    layers: needed(layers, 'lower directories, lowest first, and the upper one'),
    target: needed(innerPath),
  },
  inaccessible: { target: needed(innerPath) },
});

const limits = record<MachineLimits>({
  memory: optional(textOrNumber(values.parseSize, values.formatSize), 'bytes: 512M, 2G'),
  cpus: optional(number(0.01, most, 'number'), '1.5 is one processor and a half'),
  ioWeight: optional(number(1, 10_000), 'against 100 of other units'),
  tasks: optional(number(1, most), "processes and threads; systemd's unit has 16384"),
  nofile: optional(number(1, most), 'open files of a process'),
  nproc: optional(number(1, most), 'processes of a user'),
});

const user = record<User>({
  name: needed(text(values.parseUserName, same)),
  uid: optional(number(1, 2 ** 32 - 2)),
  groups: defaulted(list(text(values.parseUserName, same)), []),
  shell: optional(innerPath),
  passwordHash: optional(text(values.parsePasswordHash, same), 'as crypt(3) writes it'),
  sshKeys: defaulted(list(text(values.parseSshKey, same)), []),
});

const firstBoot = record<FirstBoot>({
  hostname: optional(text(values.parseHostname, same), "the machine's name, if it is not given"),
  timezone: optional(text(values.parseTimezone, same)),
  locale: optional(text(values.parseLocale, same)),
  rootPasswordHash: optional(text(values.parsePasswordHash, same), 'as crypt(3) writes it'),
  sshKeys: defaulted(list(text(values.parseSshKey, same)), [], 'of root'),
  users: defaulted(list(user), []),
  copy: defaulted(list(record({ source: needed(hostPath, 'on the host'), target: needed(innerPath) })), []),
  run: defaulted(list(hostPath), [], 'scripts of the host, run once by the machine'),
  cloudInit: optional(hostPath, "a directory of cloud-init's NoCloud"),
});

const noFirstBoot: FirstBoot = { sshKeys: [], users: [], copy: [], run: [] };

const profiles = mapped(
  list(choice(profileNames)),
  (names): readonly ProfileName[] => [...new Set<ProfileName>(['default', ...names])],
  names => names.filter(name => name !== 'default'),
);

const autostart = record<MachineSpec['autostart']>({
  order: optional(number(0, 9999), 'lower ones are started first'),
  delay: optional(number(0, 86_400, 'integer', 'seconds'), 'seconds'),
});

const mounts = mapped(
  list(mount),
  (all): readonly Mount[] => {
    const targets = all.map(({ target }) => target);
    const twice = targets.find((target, at) => targets.indexOf(target) < at);
    if (twice !== undefined) throw new Expected(`has two mounts at ${twice}`);
    return all;
  },
  all => all,
);

/** What is below `spec:`. A command is there or not; in a {@link MachineSpec} both ways to start have a name. */
type Body = Omit<MachineSpec, 'name' | 'start'> & { readonly command?: readonly string[] };
export type MachineBody = Omit<MachineSpec, 'name'>;

const command = mapped(
  list(line),
  (argv): readonly string[] => {
    if ((argv[0] ?? '') === '') throw new Expected('needs a program');
    return argv;
  },
  argv => argv,
);

const written = record<Body>({
  from: needed(
    source,
    'where its tree comes from: debian:bookworm, base:NAME, dir:PATH, oci:IMAGE, tar:FILE',
  ),
  build: optional(build, 'how the tree is built, where it is'),
  command: optional(command, "what runs in it, instead of the tree's own init"),
  enabled: defaulted(boolean, false, 'started at boot'),
  autostart: defaulted(autostart, {}),
  privateUsers: optional(
    text(values.parsePrivateUsers, values.formatPrivateUsers),
    'no, pick or BASE[:COUNT]; pick where the tree can be id-mapped, if it is not given',
  ),
  network: defaulted(network, defaultNetwork, 'host, none, or interfaces'),
  mounts: defaulted(mounts, []),
  limits: defaulted(limits, {}),
  devices: defaulted(list(text(values.parseDevice, values.formatDevice)), [], 'PATH[:ACCESS], access of rwm'),
  profiles: defaulted(profiles, ['default'], 'what it may do; spawnlet machine profiles explains them'),
  capabilities: defaulted(list(text(values.parseCapability, same)), [], 'beyond those of the profiles'),
  environment: defaulted(dictionary(values.parseVariable, line), {}, 'of its PID 1'),
  credentials: defaulted(
    list(record<Credential>({ id: needed(text(values.parseCredentialId, same)), path: needed(hostPath) })),
    [],
    'secrets: files of the host that the machine gets',
  ),
  firstBoot: defaulted(firstBoot, noFirstBoot, 'what is written into a fresh tree, once'),
});

/** Sources that a tree is built from. */
const built = ['debian', 'ubuntu', 'arch', 'fedora', 'tar', 'oci'];

/** What the builder refuses is refused as a mistake of the document, before anything is built. */
function checkBuild({ from, build: options }: Pick<Body, 'from' | 'build'>): void {
  if (built.includes(from.kind)) expecting(() => recipeOf(from, options));
  else if (options) throw new Expected(`has build, but nothing is built from ${formatTreeSource(from)}`);
}

/** `spec:` of a `kind: Machine`. */
export const machineBody: Shape<MachineBody> = mapped(
  written,
  ({ command: argv, ...rest }) => {
    checkBuild(rest);
    return { ...rest, start: argv ? { kind: 'command', argv } : { kind: 'boot' } };
  },
  ({ start, ...rest }) => ({ ...rest, ...(start.kind === 'command' && { command: start.argv }) }),
);

/** A machine of which nothing but its tree was said. */
export const plainMachine = (name: string, from: TreeSource): MachineSpec => ({
  name,
  from,
  start: { kind: 'boot' },
  enabled: false,
  autostart: {},
  network: defaultNetwork,
  mounts: [],
  limits: {},
  devices: [],
  profiles: ['default'],
  capabilities: [],
  environment: {},
  credentials: [],
  firstBoot: noFirstBoot,
});
