import { SpawnletError } from '../../host/error.ts';
import type { Files } from '../../host/files.ts';
import type { FirstBoot } from '../spec.ts';
import { type Accounts, accountOf } from './accounts.ts';
import { GuestRoot, type GuestText } from './root.ts';

/** What a new home gets of /etc/skel; paths relative to it. */
export type SkeletonEntry = { readonly path: string; readonly mode: number } & (
  | { readonly content: string }
  | { readonly directory: true }
  | { readonly link: string }
);

/** What is in a tree, as far as the files that are written into it depend on it. All of it was read, none of it run. */
export interface GuestOs {
  /** os-release(5): `debian`, `12`, `Debian GNU/Linux 12 (bookworm)`; `linux` and empty where the tree does not say. */
  readonly id: string;
  readonly versionId: string;
  readonly name: string;
  readonly init: 'systemd' | 'other' | 'none';
  /** Who sets interfaces up: of several, the one that is enabled. */
  readonly network: 'networkd' | 'ifupdown' | 'netplan' | 'networkmanager' | 'none';
  /** Whether sshd's own units make host keys that are missing; Debian's do not. */
  readonly sshd: 'none' | 'makes-keys' | 'needs-keys';
  /** Paths of SSH host keys. */
  readonly sshHostKeys: readonly string[];
  readonly dbus: boolean;
  readonly cloudInit: boolean;
  /** The hash that the tree's own passwd(1) would make. */
  readonly passwordMethod: 'yescrypt' | 'sha512';
  /** Where a new user's shell is. */
  readonly shell: string;
  readonly accounts: Accounts;
  readonly skeleton: readonly SkeletonEntry[];
  /** By user: the file that is there already. */
  readonly authorizedKeys: Readonly<Record<string, string>>;
  readonly hosts: GuestText | undefined;
  readonly localeGen: GuestText | undefined;
  /** Whether the time zone that was asked for is there. */
  readonly timezone: 'there' | 'missing';
  readonly locale: 'there' | 'to-generate' | 'missing';
  /** Names in the NoCloud directory of the host. */
  readonly cloudInitSeed: readonly string[];
}

const units = ['/usr/lib/systemd/system', '/lib/systemd/system', '/etc/systemd/system'];

/**
 * Reads a tree. `root` is the tree of the machine, or the base that it is to be cloned from. Throws `ERR_GUEST_SOURCE`
 * if something that `firstBoot` names is not on the host.
 */
export async function guestOs(root: string, firstBoot: FirstBoot, files: Files): Promise<GuestOs> {
  for (const path of [...firstBoot.copy.map(({ source }) => source), ...firstBoot.run])
    if ((await files.look(path)) === undefined) throw noSource(path);
  if (firstBoot.cloudInit !== undefined && (await files.look(firstBoot.cloudInit))?.kind !== 'directory')
    throw noSource(firstBoot.cloudInit);
  using tree = new GuestRoot(root);
  const has = (path: string) => tree.look(path, 'follow') !== undefined;
  const release = parseRelease(
    (tree.read('/etc/os-release') ?? tree.read('/usr/lib/os-release'))?.text ?? '',
  );
  const accounts: Accounts = {
    ...given('passwd', tree.read('/etc/passwd')),
    ...given('group', tree.read('/etc/group')),
    ...given('shadow', tree.read('/etc/shadow')),
    ...given('gshadow', tree.read('/etc/gshadow')),
  };
  return {
    id: release['ID'] ?? 'linux',
    versionId: release['VERSION_ID'] ?? '',
    name: release['PRETTY_NAME'] ?? release['NAME'] ?? 'Linux',
    init: initOf(tree),
    network: networkOf(has),
    sshd: sshdOf(tree, has),
    sshHostKeys: tree
      .list('/etc/ssh')
      .filter(name => name.startsWith('ssh_host_'))
      .map(name => `/etc/ssh/${name}`),
    dbus: has('/var/lib/dbus'),
    cloudInit: has('/usr/bin/cloud-init'),
    passwordMethod: /^\s*ENCRYPT_METHOD\s+YESCRYPT\s*$/im.test(tree.read('/etc/login.defs')?.text ?? '')
      ? 'yescrypt'
      : 'sha512',
    shell: has('/bin/bash') ? '/bin/bash' : '/bin/sh',
    accounts,
    skeleton: skeletonOf(tree),
    authorizedKeys: Object.fromEntries(
      ['root', ...firstBoot.users.map(user => user.name)].flatMap(name => {
        const home = name === 'root' ? '/root' : accountOf(accounts, name)?.home;
        const text = home === undefined ? undefined : tree.read(`${home}/.ssh/authorized_keys`);
        return text ? [[name, text.text]] : [];
      }),
    ),
    hosts: tree.read('/etc/hosts'),
    localeGen: tree.read('/etc/locale.gen'),
    timezone: timezoneOf(has, firstBoot.timezone),
    locale: localeOf(has, firstBoot.locale),
    cloudInitSeed: firstBoot.cloudInit === undefined ? [] : await files.list(firstBoot.cloudInit),
  };
}

const noSource = (path: string) =>
  new SpawnletError('ERR_GUEST_SOURCE', `there is no ${path} on this host`, { hint: 'name what is there' });

const given = <K extends string>(key: K, text: GuestText | undefined) =>
  (text === undefined ? {} : { [key]: text }) as { [P in K]?: GuestText };

/** os-release(5): assignments as a shell has them, of which quotes are all that occurs. */
function parseRelease(text: string): Record<string, string> {
  const pairs = text.split('\n').flatMap(line => {
    const [, key, value = ''] = /^([A-Z0-9_]+)=(.*)$/.exec(line.trim()) ?? [];
    return key === undefined ? [] : [[key, value.replace(/^(["'])(.*)\1$/, '$2').replaceAll(/[^ -~]/g, '')]];
  });
  return Object.fromEntries(pairs) as Record<string, string>;
}

/** nspawn's own order: the programs that it boots. */
function initOf(tree: GuestRoot): GuestOs['init'] {
  const inits = ['/usr/lib/systemd/systemd', '/lib/systemd/systemd'];
  if (inits.some(path => tree.look(path, 'follow')?.kind === 'file')) return 'systemd';
  return tree.look('/sbin/init', 'follow')?.kind === 'file' ? 'other' : 'none';
}

type Has = (path: string) => boolean;

function networkOf(has: Has): GuestOs['network'] {
  if (has('/usr/sbin/netplan') && has('/etc/netplan')) return 'netplan';
  const wanted = '/etc/systemd/system/multi-user.target.wants';
  const networkd = has('/usr/lib/systemd/systemd-networkd') || has('/lib/systemd/systemd-networkd');
  if (networkd && has(`${wanted}/systemd-networkd.service`)) return 'networkd';
  if (has('/usr/sbin/ifup') || has('/sbin/ifup')) return 'ifupdown';
  if (networkd) return 'networkd';
  return has('/usr/sbin/NetworkManager') ? 'networkmanager' : 'none';
}

/** Arch, Fedora and their kin have units of these names. */
const keyMakers = /^sshd?-?(keygen|genkeys)/;

function sshdOf(tree: GuestRoot, has: Has): GuestOs['sshd'] {
  if (!['/usr/sbin/sshd', '/usr/bin/sshd'].some(has)) return 'none';
  // Debian 13's is for what systemd calls a first boot; a clone with a machine ID has none.
  const makers = units.flatMap(directory =>
    tree
      .list(directory)
      .filter(name => keyMakers.test(name))
      .flatMap(name => tree.read(`${directory}/${name}`)?.text ?? []),
  );
  return makers.some(text => !/^ConditionFirstBoot=/m.test(text)) ? 'makes-keys' : 'needs-keys';
}

const zonePattern = /^[\w+-]+(\/[\w+-]+)*$/;

function timezoneOf(has: Has, zone: string | undefined): GuestOs['timezone'] {
  if (zone === undefined || zone === 'UTC') return 'there';
  return zonePattern.test(zone) && has(`/usr/share/zoneinfo/${zone}`) ? 'there' : 'missing';
}

const localePattern = /^[\w.@-]+$/;

function localeOf(has: Has, locale: string | undefined): GuestOs['locale'] {
  if (locale === undefined || /^(C|POSIX|C\.utf-?8)$/i.test(locale)) return 'there';
  if (!localePattern.test(locale)) return 'missing';
  // glibc looks for the codeset in lower case and without its dash.
  const normal = locale.replace(
    /\.([^@]*)/,
    (_whole, set: string) => `.${set.toLowerCase().replaceAll('-', '')}`,
  );
  if (has(`/usr/lib/locale/${normal}`) || has(`/usr/lib/locale/${locale}`)) return 'there';
  return has('/usr/sbin/locale-gen') || has('/usr/bin/locale-gen') ? 'to-generate' : 'missing';
}

/** As many entries as any distribution's skeleton has; more are a tree's way to fill a plan. */
const skeletonMax = 64;

function skeletonOf(tree: GuestRoot): SkeletonEntry[] {
  const found: SkeletonEntry[] = [];
  const visit = (directory: string, depth: number) => {
    for (const name of tree.list(`/etc/skel${directory}`)) {
      const path = `${directory}/${name}`;
      const entry = tree.look(`/etc/skel${path}`);
      if (!entry || found.length >= skeletonMax) return;
      const { mode } = entry;
      if (entry.kind === 'link') found.push({ path, mode, link: entry.target });
      else if (entry.kind === 'directory') {
        found.push({ path, mode, directory: true });
        if (depth < 4) visit(path, depth + 1);
      } else if (entry.kind === 'file') {
        const text = tree.read(`/etc/skel${path}`);
        if (text) found.push({ path, mode: mode & 0o777, content: text.text });
      }
    }
  };
  visit('', 0);
  return found;
}
