import { randomBytes } from 'node:crypto';
import { type Children, check } from '../host/child.ts';
import { SpawnletError } from '../host/error.ts';
import type { Host } from '../host/host.ts';
import type { Password } from './api.ts';
import { execCall } from './exec.ts';
import { passwordFiles } from './guest/files.ts';
import type { GuestOs } from './guest/os.ts';
import type { WriteGuest } from './guest/write.ts';
import type { Running } from './running.ts';

/** What no password hashes to; shadow(5). */
const locked = '!';

/**
 * The hash of a password, by the host's own tools and through their standard input: yescrypt where the machine makes such
 * itself and the host has mkpasswd, else SHA-512, which all of them read.
 *
 * @throws ERR_PROGRAM_MISSING with neither openssl nor perl.
 */
export async function hashOf(
  password: Password,
  method: GuestOs['passwordMethod'],
  children: Children,
  signal: AbortSignal,
): Promise<string> {
  if (password.kind === 'locked') return locked;
  if (password.kind === 'hash') return crypted(password.hash);
  const input = `${oneLine(password.text)}\n`;
  const makers = method === 'yescrypt' ? [yescrypt, ...sha512] : sha512;
  for (const [index, maker] of makers.entries()) {
    try {
      return crypted((await check(children, maker(), { input, signal })).toString().trim());
    } catch (error) {
      const isMissing = error instanceof SpawnletError && error.code === 'ERR_PROGRAM_MISSING';
      if (!isMissing || index === makers.length - 1) throw error;
    }
  }
  throw new Error('there is no maker of hashes');
}

const yescrypt = () => ['mkpasswd', '--method=yescrypt', '--stdin'];

/** openssl's, and for hosts without it the C library's, by way of perl, which every Debian has. */
const sha512 = [
  () => ['openssl', 'passwd', '-6', '-stdin'],
  () => [
    'perl',
    '-e',
    'chomp($_ = <STDIN>); print crypt($_, $ARGV[0])',
    `$6$${randomBytes(8).toString('hex')}$`,
  ],
];

/** A hash as crypt(5) describes them; the plain text of a password is none. */
function crypted(hash: string): string {
  if (/^\$[0-9a-z]+\$[!-9;-~]+$/.test(hash)) return hash;
  throw new SpawnletError('ERR_GUEST_USER', 'that is no hash of a password as crypt(5) has them', {
    hint: 'openssl passwd -6 makes one',
  });
}

function oneLine(text: string): string {
  if (text !== '' && !/[\n\0]/.test(text)) return text;
  throw new SpawnletError('ERR_GUEST_USER', 'a password has at least one character, and no line end', {
    hint: 'give another',
  });
}

/** The step that gives a user of a stopped machine a password. Throws `ERR_GUEST_USER` if there is no such user. */
export async function passwordStep(
  machine: string,
  root: string,
  os: GuestOs,
  user: string,
  password: Password,
  host: Host,
  signal: AbortSignal,
): Promise<WriteGuest> {
  const hash = await hashOf(password, os.passwordMethod, host.children, signal);
  const files = passwordFiles(os.accounts, user, hash, host.clock.now());
  return { do: 'write-guest', machine, root, files, tree: 'kept' };
}

/** Gives a user of a running machine a password, by the machine's own chpasswd(8) and its standard input. */
export async function setPassword(
  host: Host,
  machine: Running,
  user: string,
  password: Password,
  signal: AbortSignal,
): Promise<void> {
  const value =
    password.kind === 'plain'
      ? oneLine(password.text)
      : await hashOf(password, 'sha512', host.children, signal);
  const encrypted = password.kind === 'plain' ? [] : ['--encrypted'];
  if (/[:\n\0]/.test(user)) throw refusedBy(machine, user, 'that is no name of a user');
  const { argv } = await execCall(host, machine, ['chpasswd', ...encrypted], { env: [], terminal: false });
  const { code, stderr } = await host.children.capture(argv, { input: `${user}:${value}\n`, signal });
  if (code !== 0) throw refusedBy(machine, user, stderr.trim());
}

const refusedBy = ({ name }: Running, user: string, why: string) =>
  new SpawnletError(
    'ERR_GUEST_USER',
    `${name} did not take the password of ${JSON.stringify(user)}: ${why}`,
    {
      hint: 'without chpasswd in the machine: stop it first',
    },
  );
