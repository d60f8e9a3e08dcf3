import { createInterface } from 'node:readline/promises';
import { Writable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { SpawnletError } from '../host/error.ts';
import type { Password } from '../machine/api.ts';
import { Expected } from '../machine/shape.ts';
import { parsePasswordHash } from '../machine/values.ts';

export interface PasswordFlags {
  readonly 'password-stdin'?: boolean;
  readonly 'password-hash-stdin'?: boolean;
  readonly lock?: boolean;
}

const refuse = (why: string, hint: string) => new SpawnletError('ERR_PASSWORD', why, { hint });

/** A password of one line. Throws `ERR_PASSWORD`. */
export function parsePassword(line: string): Password {
  if (line === '') throw refuse('the password is empty', '--lock leaves a user without one');
  if (/[\0\n\r]/.test(line)) throw refuse('the password has more than one line', 'printf %s … | spawnlet …');
  return { kind: 'plain', text: line };
}

/** A password as crypt(3) has hashed it. Throws `ERR_PASSWORD`. */
export function parseHash(line: string): Password {
  try {
    return { kind: 'hash', hash: parsePasswordHash(line) };
  } catch (error) {
    if (!(error instanceof Expected)) throw error;
    // The text may be the password itself.
    throw refuse('what standard input has is no hash', error.message);
  }
}

/** Asks on the terminal, without an echo. */
async function ask(prompt: string, signal: AbortSignal): Promise<string> {
  process.stderr.write(prompt);
  const nowhere = new Writable({ write: (_chunk, _encoding, done) => done() });
  const terminal = createInterface({ input: process.stdin, output: nowhere, terminal: true, historySize: 0 });
  terminal.on('SIGINT', () => process.kill(process.pid, 'SIGINT'));
  try {
    return await terminal.question('', { signal });
  } catch (error) {
    signal.throwIfAborted();
    throw error;
  } finally {
    terminal.close();
    process.stderr.write('\n');
  }
}

/** The password that flags name, or `undefined` if none does: the caller asks then, or goes without. */
export async function passwordOf(flags: PasswordFlags): Promise<Password | undefined> {
  const named = [flags['password-stdin'], flags['password-hash-stdin'], flags.lock].filter(Boolean).length;
  if (named > 1)
    throw new SpawnletError('ERR_FLAG_CONFLICT', 'there are several flags that say the password', {
      hint: 'leave one of --password-stdin, --password-hash-stdin',
    });
  if (flags.lock) return { kind: 'locked' };
  if (flags['password-stdin']) return parsePassword(await line());
  return flags['password-hash-stdin'] ? parseHash(await line()) : undefined;
}

const line = async () => (await text(process.stdin)).replace(/\r?\n$/, '');

/** Asks twice. Throws `ERR_PASSWORD` without a terminal. */
export async function askPassword(user: string, signal: AbortSignal): Promise<Password> {
  if (!process.stdin.isTTY)
    throw refuse('there is no terminal to ask for a password', '--password-stdin reads it');
  const password = parsePassword(await ask(`Password of ${user}: `, signal));
  const again = parsePassword(await ask('Once more: ', signal));
  if (password.kind === 'plain' && again.kind === 'plain' && password.text === again.text) return password;
  throw refuse('these are two passwords', 'try again');
}
