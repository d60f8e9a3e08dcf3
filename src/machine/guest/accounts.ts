import { SpawnletError } from '../../host/error.ts';
import type { User } from '../spec.ts';
import type { GuestText } from './root.ts';

/** The account files of a tree, where they are there; passwd(5), group(5), shadow(5), gshadow(5). */
export interface Accounts {
  readonly passwd?: GuestText;
  readonly group?: GuestText;
  readonly shadow?: GuestText;
  readonly gshadow?: GuestText;
}

/** Who owns a home and where it is, by the tree's own passwd. */
export interface Account {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
  readonly home: string;
}

/** useradd(8)'s own range for people, in Debian's, Fedora's and Arch's login.defs. */
const firstUid = 1000;
const lastUid = 60_000;

/** What systemd, shadow and sudo all take as a name. */
const namePattern = /^[a-z_][a-z0-9_-]{0,30}$/;

const lines = (text: string) => text.split('\n').filter(line => line !== '');
const join = (all: readonly string[]) => all.map(line => `${line}\n`).join('');
const first = (line: string) => line.split(':', 1)[0] ?? '';

/** The account of a name; undefined if the tree has none. */
export function accountOf(accounts: Accounts, name: string): Account | undefined {
  const line = lines(accounts.passwd?.text ?? '').find(entry => first(entry) === name);
  if (line === undefined) return undefined;
  const [, , uid, gid, , home = ''] = line.split(':');
  const path = Buffer.from(home, 'latin1').toString();
  return { name, uid: idOf(uid), gid: idOf(gid), home: path.startsWith('/') ? path : '/' };
}

const idOf = (text: string | undefined) => (/^\d{1,10}$/.test(text ?? '') ? Number(text) : 0);

const refused = (message: string, hint: string) => new SpawnletError('ERR_GUEST_USER', message, { hint });

/** A word that would begin another field or line is no value of one. */
function field(value: string, what: string): string {
  if (/[:\n\0]/.test(value))
    throw refused(`${what} ${JSON.stringify(value)} has a colon or a line end`, 'leave it out');
  return value;
}

/** The text of one of the files after `edit`; a file that is not there begins empty, as root's. */
function edited(text: GuestText | undefined, mode: number, edit: (all: string[]) => string[]): GuestText {
  const { text: before, ...own } = text ?? { text: '', mode, uid: 0, gid: 0 };
  return { text: join(edit(lines(before))), ...own };
}

/** Replaces the line of a name, or adds one. */
function put(all: readonly string[], name: string, make: (line: string | undefined) => string): string[] {
  const index = all.findIndex(line => first(line) === name);
  return index < 0 ? [...all, make(undefined)] : all.with(index, make(all[index]));
}

const isPointer = (line: string) => line.split(':')[1] === 'x';

/** The first ID that neither file has. */
function freeId(accounts: Accounts): number {
  const taken = new Set(
    [accounts.passwd, accounts.group].flatMap(file =>
      lines(file?.text ?? '').map(line => line.split(':')[2]),
    ),
  );
  for (let id = firstUid; id <= lastUid; id++) if (!taken.has(String(id))) return id;
  throw refused('the tree has no free user ID left', 'give one with uid=');
}

/**
 * Sets the hash of a user's password, as `usermod -p` does: in shadow, to which passwd points from then on. `day` is the
 * day of the change since 1970. Throws `ERR_GUEST_USER` if there is no such user.
 */
export function withPassword(accounts: Accounts, name: string, hash: string, day: number): Accounts {
  if (!accountOf(accounts, name))
    throw refused(`the machine's tree has no user ${JSON.stringify(name)}`, 'name one that /etc/passwd has');
  field(hash, 'the password hash');
  return {
    ...accounts,
    passwd: edited(accounts.passwd, 0o644, all =>
      put(all, name, line => {
        if (line === undefined || isPointer(line)) return line ?? '';
        return line.split(':').with(1, 'x').join(':');
      }),
    ),
    shadow: edited(accounts.shadow, 0o600, all =>
      put(all, name, line => {
        const [, , , ...rest] = line?.split(':') ?? [];
        const tail = rest.length > 0 ? rest : ['0', '99999', '7', '', '', ''];
        return [name, hash, String(day), ...tail].join(':');
      }),
    ),
  };
}

/**
 * Adds a user as `useradd -U` does, or gives the one that is there the groups and the password that are asked for; all
 * else of it stays. Throws `ERR_GUEST_USER` on a name or group that cannot be, or an ID that another has.
 */
export function withUser(accounts: Accounts, user: User, shell: string, day: number): Accounts {
  const { name, passwordHash } = user;
  if (!namePattern.test(name))
    throw refused(
      `${JSON.stringify(name)} is no name of a user`,
      'lower case letters, digits, - and _, no digit first, at most 31',
    );
  const base = accountOf(accounts, name) ? accounts : added(accounts, user, shell, day);
  const grouped = user.groups.reduce((all, group) => withMember(all, group, name), base);
  return passwordHash === undefined ? grouped : withPassword(grouped, name, passwordHash, day);
}

function added(
  accounts: Accounts,
  { name, uid: wanted, shell: own }: User,
  shell: string,
  day: number,
): Accounts {
  const owner = lines(accounts.passwd?.text ?? '').find(line => line.split(':')[2] === String(wanted));
  if (wanted !== undefined && owner !== undefined)
    throw refused(`user ID ${wanted} is ${first(owner)}'s in the machine's tree`, 'give another, or none');
  const uid = wanted ?? freeId(accounts);
  const groupLine = lines(accounts.group?.text ?? '').find(line => first(line) === name);
  const taken = lines(accounts.group?.text ?? '').some(line => line.split(':')[2] === String(uid));
  const newGid = taken ? freeId(accounts) : uid;
  const gid = groupLine === undefined ? newGid : idOf(groupLine.split(':')[2]);
  const account = [
    name,
    'x',
    String(uid),
    String(gid),
    '',
    `/home/${name}`,
    field(own ?? shell, 'the shell'),
  ];
  return {
    passwd: edited(accounts.passwd, 0o644, all => [...all, account.join(':')]),
    group: edited(accounts.group, 0o644, all => put(all, name, line => line ?? `${name}:x:${gid}:`)),
    shadow: edited(accounts.shadow, 0o600, all =>
      put(all, name, line => line ?? `${name}:!:${day}:0:99999:7:::`),
    ),
    ...(accounts.gshadow && {
      gshadow: edited(accounts.gshadow, 0o600, all => put(all, name, line => line ?? `${name}:!::`)),
    }),
  };
}

const withWord = (list: string | undefined, word: string) =>
  [...new Set([...(list ?? '').split(',').filter(Boolean), word])].join(',');

/** Adds a member to a group's last field, in both files. */
function withMember(accounts: Accounts, group: string, name: string): Accounts {
  const { gshadow } = accounts;
  if (!lines(accounts.group?.text ?? '').some(line => first(line) === group))
    throw refused(
      `the machine's tree has no group ${JSON.stringify(group)}`,
      'install the package that makes it into the base, or leave the group out',
    );
  const member = (line: string | undefined) => {
    const [id = '', password = '', number = '', members] = line?.split(':') ?? [];
    return [id, password, number, withWord(members, name)].join(':');
  };
  const has = lines(gshadow?.text ?? '').some(line => line.split(':').length === 4 && first(line) === group);
  return {
    ...accounts,
    group: edited(accounts.group, 0o644, all => put(all, group, member)),
    ...(gshadow && has && { gshadow: edited(gshadow, 0o600, all => put(all, group, member)) }),
  };
}
