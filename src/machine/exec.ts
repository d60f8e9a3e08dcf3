import { allCapabilities, possibleCapabilities } from '../engine/capabilities.ts';
import { cgroupFiles, enterCgroups } from '../engine/exec.ts';
import { ended } from '../host/child.ts';
import { SpawnletError } from '../host/error.ts';
import type { Host } from '../host/host.ts';
import { unique } from '../host/process.ts';
import { literally } from '../systemd/escape.ts';
import type { ExecOptions } from './api.ts';
import { accountOf } from './guest/accounts.ts';
import { GuestRoot } from './guest/root.ts';
import type { Running } from './running.ts';
import { leftInFile, passedOn } from './variables.ts';

/**
 * Runs the command as a child, so that death by a signal comes out as 128+n and a program that is not there as 127, where
 * systemd-run has 255 and 203. What ends the terminal's foreground ends the child; the shell stays to tell of it.
 */
const told = `trap : HUP INT QUIT TERM PIPE; "$@"; exit $?`;

/**
 * The same for a command that nsenter brings in: it is in the machine's cgroup, not in the unit's, so the shell ends it when
 * the unit is stopped. Without a terminal to be in charge of, a shell gives its background no input of its own accord.
 */
const entered = `exec 3<&0; "$@" <&3 3<&- & pid=$!; exec 3<&-
trap : HUP INT QUIT PIPE; trap 'kill -KILL $(cat /proc/$pid/task/$pid/children)' TERM
wait $pid; code=$?; while kill -0 $pid 2>/dev/null; do wait $pid; code=$?; done; exit $code`;

/** The same on a terminal of machinectl's, which has no exit code of its own: the code is left in a file. */
const leftBehind = `trap : HUP INT QUIT TERM PIPE; file=$1; shift; [ -z "$1" ] || cd "$1" || exit; shift
"$@"; code=$?; set -C; echo $code >"$file"`;

const rootOf = ({ leader }: Running) => new GuestRoot(`/proc/${leader}/root`);

/**
 * Runs a command in a machine with the caller's streams and gives its exit code. The machine's own systemd starts it, so it
 * has the machine's cgroup, capabilities and system call filter, and nothing of the host enters: see
 * docs/decisions/0012-exec-in-machines.md. On abort the command is ended, and the signal's reason thrown.
 *
 * @throws ERR_GUEST_OS if the machine has no D-Bus, ERR_USER if it has no such user.
 */
export async function execInMachine(
  host: Host,
  machine: Running,
  argv: readonly string[],
  options: ExecOptions,
  signal: AbortSignal,
): Promise<number> {
  const { terminal, stdin } = options;
  if (machine.start === 'boot' && terminal) return onTerminal(host, machine, argv, options);
  await using call = await execCall(host, machine, argv, options);
  // Not of our process group: what the user's terminal sends is ours to pass on, or the command would go on alone.
  const child = host.children.spawn(call.argv, {
    stdio: [terminal || stdin ? 'inherit' : 'ignore', 'inherit', 'inherit'],
    detached: !terminal,
    env: { ...process.env, ...call.env },
  });
  const code = await until(ended(child), call, host, signal);
  if (machine.start === 'boot') refuseByCode(machine, code, options);
  return code;
}

/** A command in a machine, as a command line of the host; its streams are those of the child. Disposed of when that has ended. */
export interface ExecCall extends AsyncDisposable {
  readonly argv: readonly string[];
  /** Values of variables, which the child has in its environment: everybody on the host can read an argument list. */
  readonly env: Readonly<Record<string, string>>;
  /** Ends the command, which does not end with the child. */
  readonly stop: readonly string[];
}

/** @throws ERR_GUEST_OS, ERR_GUEST_USER */
export async function execCall(
  host: Host,
  machine: Running,
  argv: readonly string[],
  options: Omit<ExecOptions, 'stdin'>,
): Promise<ExecCall> {
  const unit = `spawnlet-exec-${unique()}.service`;
  // systemd sets it for units that have a user.
  const pairs = [...(options.user === undefined ? ['HOME=/root'] : []), ...options.env];
  const isHostsUnit = machine.start === 'command' && options.env.length > 0;
  const { flags, env, file } = isHostsUnit ? await leftInFile(host.files, pairs) : passedOn(pairs);
  const words =
    machine.start === 'boot'
      ? booted(machine, argv, options)
      : await entering(host, machine, argv, { ...options, file });
  const where = machine.start === 'boot' ? [`--machine=${machine.name}`] : [];
  const described = `--description=Command of spawnlet: ${oneLine(argv[0] ?? '')}`;
  const how = ['--quiet', '--wait', '--collect', options.terminal ? '--pty' : '--pipe', '--no-ask-password'];
  return {
    argv: ['systemd-run', ...where, ...how, `--unit=${unit}`, described, ...flags, ...words],
    env,
    stop: ['systemctl', ...where, 'stop', unit],
    async [Symbol.asyncDispose]() {
      if (file !== undefined) await host.files.remove(file);
    },
  };
}

/** Of a name that somebody chose, what fits into a line of a journal; arguments may be secrets. */
const oneLine = (text: string) => text.replaceAll(/[^ -~]/g, '?').slice(0, 80);

function booted(
  machine: Running,
  argv: readonly string[],
  { user, directory }: Pick<ExecOptions, 'user' | 'directory'>,
): string[] {
  needBus(machine);
  return [
    ...(user === undefined ? [] : [`--uid=${user}`]),
    ...(directory === undefined ? [] : [`--working-directory=${directory}`]),
    '--',
    ...literally(['/bin/sh', '-c', told, 'sh', ...argv]),
  ];
}

/**
 * That a command began and ended is no news for the journal of the host, and its caller is told how. What it says itself goes to its
 * caller, too; nothing else in the unit writes to the journal. A machine's own systemd is not asked for this: there it would take from
 * the machine's journal what the command and its children have to say.
 */
const quiet = '--property=LogLevelMax=err';

/** What systemd-nspawn's own filter keeps from a machine, by systemd's names; systemd-analyze(1), syscall-filter. */
const refusedCalls =
  '~@clock @cpu-emulation @keyring @module @obsolete @raw-io @reboot @swap bpf fanotify_init open_by_handle_at perf_event_open quotactl';

/**
 * A machine without systemd has nobody who could start something: a unit of the host enters it. It has let go of what the
 * machine's init has not, before it enters, since who is root in there may trace what comes in.
 */
async function entering(
  { files }: Host,
  machine: Running,
  argv: readonly string[],
  { user, directory, file }: Pick<ExecOptions, 'user' | 'directory'> & { readonly file: string | undefined },
): Promise<string[]> {
  const proc = `/proc/${machine.leader}`;
  const [status = '', groups = ''] = await Promise.all([
    files.read(`${proc}/status`),
    files.read(`${proc}/cgroup`),
  ]);
  const mask = /^CapBnd:\s*([0-9a-f]+)$/m.exec(status)?.[1];
  if (mask === undefined) throw notRunning(machine);
  const cgroups = cgroupFiles(groups);
  const there = await Promise.all(cgroups.map(file => files.look(file)));
  return [
    quiet,
    `--property=CapabilityBoundingSet=${possibleCapabilities(allCapabilities, mask).join(' ')}`,
    `--property=SystemCallFilter=${refusedCalls}`,
    '--property=SystemCallErrorNumber=EPERM',
    '--property=SystemCallArchitectures=native',
    '--',
    ...literally([
      ...(file === undefined ? [] : ['/bin/sh', '-c', removing, 'sh', file]),
      ...joining(cgroups.filter((_file, index) => there[index])),
      '/bin/sh',
      '-c',
      entered,
      'sh',
      'nsenter',
      `--target=${machine.leader}`,
      '--all',
      '--root',
      `--wdns=${directory ?? '/'}`,
      ...(user === undefined ? [] : idWords(machine, user)),
      '--',
      ...argv,
    ]),
  ];
}

/** systemd has read it. */
const removing = 'rm -f "$1"; shift; exec "$@"';

const joining = (cgroups: readonly string[]) => ['/bin/sh', '-c', enterCgroups, 'sh', ...cgroups, '--'];

function idWords(machine: Running, user: string): string[] {
  using tree = rootOf(machine);
  const passwd = tree.read('/etc/passwd');
  const id = /^\d+$/.test(user) ? { uid: Number(user), gid: Number(user) } : undefined;
  const account = id ?? accountOf(passwd ? { passwd } : {}, user);
  if (!account) throw noUser(machine, user);
  return [`--setuid=${account.uid}`, `--setgid=${account.gid}`];
}

const notRunning = ({ name }: Running) =>
  new SpawnletError('ERR_NOT_RUNNING', `${name} is not running`, { hint: `spawnlet machine start ${name}` });

const noUser = ({ name }: Running, user: string) =>
  new SpawnletError('ERR_GUEST_USER', `${name} has no user ${JSON.stringify(user)}`, {
    hint: 'name one that its /etc/passwd has',
  });

/** systemctl, systemd-run and machinectl reach a machine's systemd by its bus. */
function needBus(machine: Running): void {
  using tree = rootOf(machine);
  if (tree.look('/run/dbus/system_bus_socket', 'follow') !== undefined) return;
  throw new SpawnletError('ERR_GUEST_OS', `${machine.name} has no D-Bus, by which its systemd is reached`, {
    hint: 'wait until it has booted; else install dbus into the base',
  });
}

/** systemd.exec(5): what its process ends with before the command is there. */
const [exitChdir, exitUser] = [200, 217];

/** The machine is asked only where the code is one of systemd's own; a command may have it, too. */
function refuseByCode(machine: Running, code: number, { user, directory }: ExecOptions): void {
  if (code !== exitChdir && code !== exitUser) return;
  using tree = rootOf(machine);
  const passwd = tree.read('/etc/passwd');
  if (
    code === exitUser &&
    user !== undefined &&
    !/^\d+$/.test(user) &&
    !accountOf(passwd ? { passwd } : {}, user)
  )
    throw noUser(machine, user);
  if (code === exitChdir && directory !== undefined && tree.look(directory, 'follow')?.kind !== 'directory')
    throw new SpawnletError('ERR_WORKDIR', `${machine.name} has no directory ${directory}`, {
      hint: 'name one that is there with -w',
    });
}

/** Waits for an end; an abort stops the command first. */
async function until(end: Promise<number>, call: ExecCall, host: Host, signal: AbortSignal): Promise<number> {
  const aborted = Promise.withResolvers<'aborted'>();
  const abort = () => aborted.resolve('aborted');
  signal.addEventListener('abort', abort, { once: true });
  if (signal.aborted) abort();
  try {
    const first = await Promise.race([end, aborted.promise]);
    if (first !== 'aborted') return first;
    await host.children.capture(call.stop);
    await end;
    throw signal.reason;
  } finally {
    signal.removeEventListener('abort', abort);
  }
}

/**
 * A session of the machine's own, as machinectl opens it: its terminal, its login, sizes passed on. systemd-run's `--pty`
 * looks for the machine's terminal on the host (systemd 252), where another's may have the name.
 */
async function onTerminal(
  host: Host,
  machine: Running,
  argv: readonly string[],
  { env, user, directory = '' }: ExecOptions,
): Promise<number> {
  needBus(machine);
  const file = `/tmp/.spawnlet-exec-${unique()}`;
  const words = literally(['/bin/sh', '-c', leftBehind, 'sh', file, directory, ...argv]);
  const variables = passedOn(env);
  const options = ['--quiet', `--uid=${user ?? 'root'}`, ...variables.flags];
  const child = host.children.spawn(['machinectl', ...options, 'shell', machine.name, ...words], {
    stdio: 'inherit',
    env: { ...process.env, ...variables.env },
  });
  const code = await ended(child);
  using tree = rootOf(machine);
  const text = tree.read(file)?.text.trim();
  await tree.remove(file);
  if (text !== undefined && /^\d{1,3}$/.test(text)) return Number(text);
  // The user left (^] three times), or the session was ended: the command has got a SIGHUP.
  return code === 0 ? 129 : code;
}

/** A shell of a user, with a login session; machinectl's own. */
export async function shellInMachine(host: Host, machine: Running, user: string): Promise<number> {
  if (machine.start === 'command')
    return execInMachine(host, machine, ['/bin/sh'], shellOptions(user), never);
  needBus(machine);
  const child = host.children.spawn(['machinectl', '--quiet', `--uid=${user}`, 'shell', machine.name], {
    stdio: 'inherit',
  });
  return await ended(child);
}

const shellOptions = (user: string): ExecOptions => ({ env: [], user, terminal: true, stdin: true });
const never = new AbortController().signal;

/** A login prompt; machinectl's own. @throws ERR_GUEST_OS for a machine without systemd. */
export async function loginToMachine(host: Host, machine: Running): Promise<number> {
  if (machine.start === 'command')
    throw new SpawnletError('ERR_GUEST_OS', `${machine.name} runs one command, and nobody who would log in`, {
      hint: `spawnlet machine shell ${machine.name}`,
    });
  needBus(machine);
  return await ended(host.children.spawn(['machinectl', 'login', machine.name], { stdio: 'inherit' }));
}
