import { closeSync, openSync, readFileSync, readlinkSync, writeFileSync, writeSync } from 'node:fs';
import { constants } from 'node:os';
import { type Library, loadLibc } from '../host/libc.ts';
import { given, held } from './beside.ts';
import { allCapabilities } from './capabilities.ts';
import type { ProcessSpec } from './exec.ts';

/** What a process of the host, which is in all of a container's namespaces but that of mounts, is told to become. */
export interface Become {
  readonly process: ProcessSpec & {
    readonly capabilities?: { readonly bounding?: readonly string[] };
    readonly noNewPrivileges?: boolean;
    readonly oomScoreAdj?: number;
  };
  /** A compiled filter, in base64. */
  readonly filter?: string;
  /** Gets the reason why the command could not be run. */
  readonly log: string;
  /** Gets its process ID, as the host counts. */
  readonly pidFile: string;
}

/** sched.h, prctl.h. */
const [cloneFs, cloneNewNs] = [0x200, 0x2_0000];
const [keepCapabilities, dropBounding, noNewPrivileges, setSeccomp] = [8, 24, 38, 22];
const filterMode = 2;

/** `cap_user_data_t` of version 3: effective, permitted and inheritable, low words before high ones. */
function capabilityWords(mask: bigint): Uint32Array {
  const [low, high] = [Number(mask & 0xffff_ffffn), Number(mask >> 32n)];
  return Uint32Array.of(low, low, 0, high, high, 0);
}

const capabilityHeader = () => Uint32Array.of(0x2008_0522, 0);

const maskOf = (names: readonly string[]): bigint =>
  names.reduce((mask, name) => mask | (1n << BigInt(allCapabilities.indexOf(name))), 0n);

/** As execvp(3) has it: paths of a program, in their order. */
export function candidates(program: string, env: readonly string[]): readonly string[] {
  if (program.includes('/')) return [program];
  const path = env.findLast(entry => entry.startsWith('PATH='))?.slice('PATH='.length) ?? '/usr/bin:/bin';
  return path.split(':').map(directory => `${directory || '.'}/${program}`);
}

/** Calls that fail are told by name; nothing of a container is run half confined. */
function calls(libc: Library) {
  const checked = (prototype: string) => {
    const call = libc.func(prototype);
    return (...values: unknown[]) => {
      if (call(...values) !== -1) return;
      const [, name] = /(\w+)\(/.exec(prototype) ?? [];
      throw new Error(`${name}: ${errorText(libc.errno())}`);
    };
  };
  libc.struct('sock_fprog', { len: 'uint16', filter: 'uint8 *' });
  return {
    unshare: checked('int unshare(int)'),
    setns: checked('int setns(int, int)'),
    chdir: checked('int chdir(const char *)'),
    setgroups: checked('int setgroups(size_t, const uint32_t *)'),
    setresgid: checked('int setresgid(uint32_t, uint32_t, uint32_t)'),
    setresuid: checked('int setresuid(uint32_t, uint32_t, uint32_t)'),
    capset: checked('int capset(void *, const void *)'),
    prctl: checked('int prctl(int, unsigned long, unsigned long, unsigned long, unsigned long)'),
    filter: checked('int prctl(int, unsigned long, const sock_fprog *, unsigned long, unsigned long)'),
    fcntl: checked('int fcntl(int, int, long)'),
    signal: libc.func('intptr_t signal(int, intptr_t)'),
    execve: libc.func('int execve(const char *, const char **, const char **)'),
    exit: libc.func('void _exit(int)'),
    errno: () => libc.errno(),
  };
}

const errorText = (number: number): string => {
  const name = Object.entries(constants.errno).find(([, value]) => value === number)?.[0];
  if (name === 'ENOENT') return 'No such file or directory';
  return name === 'EACCES' ? 'Permission denied' : (name ?? `error ${number}`);
};

/** fcntl.h */
const setFlags = 2;

/** They are ignored by Node; a command begins with what is usual. */
const ignoredByNode = ['SIGPIPE', 'SIGXFSZ'] as const;

type Calls = ReturnType<typeof calls>;

/**
 * Gives up what the container's processes do not have. The filter comes while that is allowed without `noNewPrivileges`,
 * so that it has to let through capset and execve, as it has to with other runtimes.
 */
function confine(
  { prctl, setgroups, setresgid, setresuid, capset, filter: load }: Calls,
  { process: { user, capabilities, noNewPrivileges: isLast }, filter }: Become,
  own: bigint,
): void {
  const bounding = maskOf(capabilities?.bounding ?? []);
  for (const [number] of allCapabilities.entries())
    if (((own & ~bounding) >> BigInt(number)) & 1n) prctl(dropBounding, number, 0, 0, 0);
  prctl(keepCapabilities, 1, 0, 0, 0);
  const groups = user.additionalGids ?? [];
  setgroups(groups.length, Uint32Array.from(groups));
  setresgid(user.gid, user.gid, user.gid);
  setresuid(user.uid, user.uid, user.uid);
  capset(capabilityHeader(), capabilityWords(own));
  if (isLast) prctl(noNewPrivileges, 1, 0, 0, 0);
  if (filter !== undefined) {
    const program = Buffer.from(filter, 'base64');
    load(setSeccomp, filterMode, { len: program.length / 8, filter: program }, 0, 0);
  }
  capset(capabilityHeader(), capabilityWords(own & bounding));
}

/** Tries each path as execvp(3) does. @returns why none could be run */
function run({ execve, errno }: Calls, { args, env }: ProcessSpec): string {
  const [program = ''] = args;
  let why = errorText(constants.errno.ENOENT);
  for (const path of candidates(program, env)) {
    execve(path, [...args, null], [...env, null]);
    const number = errno();
    if (number === constants.errno.EACCES || why !== errorText(constants.errno.EACCES))
      why = errorText(number);
    if (![constants.errno.ENOENT, constants.errno.ENOTDIR, constants.errno.EACCES].includes(number)) break;
  }
  return `exec ${JSON.stringify(program)}: ${why}`;
}

/**
 * Becomes a command of a container: this very process, by its first thread alone. Its descriptors are {@link given} and
 * {@link held}. It never returns: what fails is in the log.
 */
export async function become(): Promise<never> {
  const wanted = JSON.parse(readFileSync(given, 'utf8')) as Become;
  const made = calls(await loadLibc());
  const { process: command } = wanted;
  const status = readFileSync('/proc/self/status', 'latin1');
  const own = BigInt(`0x${/^CapPrm:\s*([0-9a-f]+)$/m.exec(status)?.[1] ?? '0'}`);
  const log = openSync(wanted.log, 'w', 0o600);
  try {
    // In the host's /proc it is what the host calls it.
    writeFileSync(wanted.pidFile, readlinkSync('/proc/self'));
    if (command.oomScoreAdj !== undefined)
      writeFileSync('/proc/self/oom_score_adj', String(command.oomScoreAdj));
    const mounts = openSync(`/proc/self/fd/${held}/ns/mnt`, 'r');
    // A thread that shares its working directory with others is let into no other mounts.
    made.unshare(cloneFs);
    made.setns(mounts, cloneNewNs);
    for (const each of [given, held, mounts]) closeSync(each);
    made.chdir(command.cwd);
    // Node keeps its streams and what it ignores to itself.
    for (const stream of [0, 1, 2]) made.fcntl(stream, setFlags, 0);
    for (const name of ignoredByNode) made.signal(constants.signals[name], 0);
    confine(made, wanted, own);
    writeSync(log, run(made, command));
  } catch (error) {
    writeSync(log, String(error instanceof Error ? error.message : error));
  }
  // Under the container's filter Node has no way to end well.
  made.exit(126);
  return process.exit(126);
}
