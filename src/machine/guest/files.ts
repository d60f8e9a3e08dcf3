import { SpawnletError } from '../../host/error.ts';
import type { MachineSpec } from '../spec.ts';
import { type Account, type Accounts, accountOf, withPassword, withUser } from './accounts.ts';
import type { GuestFile } from './file.ts';
import { firstBootFiles } from './first-boot.ts';
import { hostnameFiles, type Identity, identityFiles } from './identity.ts';
import type { GuestOs } from './os.ts';
import type { GuestText } from './root.ts';

const refused = (message: string, hint: string) => new SpawnletError('ERR_GUEST_OS', message, { hint });

const dayOf = ({ now }: Identity) => Math.floor(now / 86_400_000);

/**
 * What is written into the tree of a new machine, in order: who it is (not for a tree that is booted where it lies: it
 * is somebody already), what `firstBoot` says, and the network's files. Throws `ERR_GUEST_OS` if the tree lacks what
 * something of that needs, `ERR_GUEST_USER` if a user cannot be.
 */
export function guestFiles(
  spec: MachineSpec,
  os: GuestOs,
  network: readonly GuestFile[],
  identity: Identity,
): GuestFile[] {
  const { firstBoot } = spec;
  const inPlace = spec.from.kind === 'directory';
  const named = firstBoot.hostname === undefined ? [] : hostnameFiles(firstBoot.hostname, os);
  return [
    ...(inPlace ? named : identityFiles(spec, os, identity)),
    ...accountFiles(spec, os, identity),
    ...timezoneFiles(firstBoot.timezone, os),
    ...localeFiles(firstBoot.locale, os),
    ...firstBoot.copy.map(({ source, target }) => ({ path: target, copy: source })),
    ...cloudInitFiles(spec, os, identity),
    ...(os.cloudInit && network.length > 0 ? cloudInitNetworkFiles(os) : []),
    ...network,
    ...firstBootFiles(spec, os),
  ];
}

/** The account files whose text is not what it was. Only new lines are shown, and no hashes. */
export function changedAccounts(before: Accounts, after: Accounts): GuestFile[] {
  return (['passwd', 'group', 'shadow', 'gshadow'] as const).flatMap((name): GuestFile[] => {
    const file: GuestText | undefined = after[name];
    const old = before[name]?.text ?? '';
    if (!file || file.text === old) return [];
    const { text: content, ...own } = file;
    return [
      { path: `/etc/${name}`, content, encoding: 'latin1', ...own, shown: newLines(old, content, name) },
    ];
  });
}

function newLines(old: string, content: string, name: string): string {
  const there = new Set(old.split('\n'));
  const added = content.split('\n').filter(line => !there.has(line));
  const shown = name.endsWith('shadow')
    ? added.map(line => line.replace(/^([^:]*:)[^:]{3,}/, '$1(hidden)'))
    : added;
  return ['(lines that are there)', ...shown, ''].join('\n');
}

/** The files that give a user of a stopped machine another password; `!` as hash locks it. */
export function passwordFiles(accounts: Accounts, user: string, hash: string, now: number): GuestFile[] {
  return changedAccounts(accounts, withPassword(accounts, user, hash, Math.floor(now / 86_400_000)));
}

function accountFiles(spec: MachineSpec, os: GuestOs, identity: Identity): GuestFile[] {
  const { rootPasswordHash, sshKeys, users } = spec.firstBoot;
  const day = dayOf(identity);
  const withRoot =
    rootPasswordHash === undefined ? os.accounts : withPassword(os.accounts, 'root', rootPasswordHash, day);
  const accounts = users.reduce((all, user) => withUser(all, user, os.shell, day), withRoot);
  const root: Account = { name: 'root', uid: 0, gid: 0, home: '/root' };
  return [
    ...changedAccounts(os.accounts, accounts),
    ...keyFiles(root, sshKeys, os),
    ...users.flatMap(user => {
      const account = accountOf(accounts, user.name);
      if (!account) return [];
      const isNew = accountOf(os.accounts, user.name) === undefined;
      return [...(isNew ? homeFiles(account, os) : []), ...keyFiles(account, user.sshKeys, os)];
    }),
  ];
}

function homeFiles({ home, uid, gid }: Account, os: GuestOs): GuestFile[] {
  return [
    { path: home, directory: true, mode: 0o700, uid, gid },
    ...os.skeleton.map(entry => ({
      ...entry,
      path: `${home}${entry.path}`,
      uid,
      gid,
      encoding: 'latin1' as const,
    })),
  ];
}

/** sshd takes keys only from a file that nobody else can write. */
function keyFiles({ name, home, uid, gid }: Account, keys: readonly string[], os: GuestOs): GuestFile[] {
  if (keys.length === 0) return [];
  for (const key of keys)
    if (!/^[\x20-\x7e\x80-\uffff]+$/.test(key))
      throw refused(`an SSH key of ${name} has more than one line`, 'give each key as a line of its own');
  const there = (os.authorizedKeys[name] ?? '').split('\n').filter(line => line !== '');
  const bytes = keys.map(key => Buffer.from(key.trim()).toString('latin1'));
  return [
    { path: `${home}/.ssh`, directory: true, mode: 0o700, uid, gid },
    {
      path: `${home}/.ssh/authorized_keys`,
      content: [...new Set([...there, ...bytes]), ''].join('\n'),
      encoding: 'latin1',
      mode: 0o600,
      uid,
      gid,
    },
  ];
}

/** Without /etc/localtime it is UTC; a tree need not have a zone for that. */
function timezoneFiles(zone: string | undefined, os: GuestOs): GuestFile[] {
  if (zone === undefined) return [];
  if (os.timezone === 'missing')
    throw refused(`the machine's tree does not know the time zone ${zone}`, 'install tzdata into the base');
  return [
    zone === 'UTC'
      ? { path: '/etc/localtime', remove: true }
      : { path: '/etc/localtime', link: `../usr/share/zoneinfo/${zone}` },
    ...(os.id === 'debian' || os.id === 'ubuntu' ? [{ path: '/etc/timezone', content: `${zone}\n` }] : []),
  ];
}

function localeFiles(locale: string | undefined, os: GuestOs): GuestFile[] {
  if (locale === undefined) return [];
  if (os.locale === 'missing')
    throw refused(
      `the machine's tree has no locale ${locale}, and nothing to make it with`,
      'C.UTF-8 is always there; else install locales into the base',
    );
  const charset = /\.([^@]+)/.exec(locale)?.[1] ?? 'ISO-8859-1';
  const { text, ...own } = os.localeGen ?? { text: '' };
  const wanted = `${locale} ${charset}`;
  return [
    { path: '/etc/locale.conf', content: `LANG=${locale}\n` },
    // Debian's own place, of which newer releases make a link to the other.
    ...(os.id === 'debian' || os.id === 'ubuntu'
      ? ([{ path: '/etc/default/locale', link: '../locale.conf' }] as const)
      : []),
    ...(os.locale === 'to-generate' && !text.split('\n').includes(wanted)
      ? [{ path: '/etc/locale.gen', ...own, content: `${text}${wanted}\n`, encoding: 'latin1' } as const]
      : []),
  ];
}

/** The NoCloud directory, where cloud-init looks for what the host has to say; what it kept of another machine goes. */
function cloudInitFiles(spec: MachineSpec, os: GuestOs, identity: Identity): GuestFile[] {
  const source = spec.firstBoot.cloudInit;
  const stale = (['instance', 'instances'] as const).map(
    name => ({ path: `/var/lib/cloud/${name}`, remove: true }) as const,
  );
  if (source === undefined) return os.cloudInit && spec.from.kind !== 'directory' ? stale : [];
  if (!os.cloudInit)
    throw refused(
      `the machine's tree has no cloud-init`,
      'install it into the base, or leave --cloud-init out',
    );
  const seed = '/var/lib/cloud/seed/nocloud';
  const hostname = spec.firstBoot.hostname ?? spec.name;
  const meta = `instance-id: ${identity.machineId}\nlocal-hostname: ${hostname}\n`;
  return [
    ...stale,
    { path: seed, directory: true, mode: 0o700 },
    { path: seed, copy: `${source}/.` },
    ...(os.cloudInitSeed.includes('meta-data') ? [] : [{ path: `${seed}/meta-data`, content: meta }]),
    ...(os.cloudInitSeed.includes('user-data')
      ? []
      : [{ path: `${seed}/user-data`, content: '#cloud-config\n{}\n' }]),
  ];
}

/** cloud-init would write settings of DHCP beside those of the machine's network, unless the seed says what it is to write. */
function cloudInitNetworkFiles(os: GuestOs): GuestFile[] {
  if (os.cloudInitSeed.includes('network-config')) return [];
  const comment = '# Written by spawnlet, as the settings of the network are.';
  return [
    {
      path: '/etc/cloud/cloud.cfg.d/99-spawnlet-network.cfg',
      content: `${comment}\nnetwork: { config: disabled }\n`,
    },
  ];
}
