import type { Apps } from '../app/app.ts';
import type { RunRequest } from '../app/request.ts';
import type { Session } from '../app/session.ts';
import { type Attachment, parseDetachKeys, type Streams } from '../engine/attach.ts';
import type { TerminalSize } from '../engine/container.ts';
import { parseSignal } from '../engine/signal.ts';
import { SpawnletError } from '../host/error.ts';
import type { UnitWatch } from '../systemd/watch.ts';
import type { Context } from './context.ts';

/** The caller's streams as a container's: detach keys only where there is a terminal. */
export function streamsOf(
  request: Pick<RunRequest, 'terminal' | 'stdin'>,
  keys: string | undefined,
): Streams {
  return {
    ...(request.stdin && { input: process.stdin }),
    output: process.stdout,
    error: process.stderr,
    detachKeys: parseDetachKeys(request.terminal ? (keys ?? 'ctrl-p,ctrl-q') : ''),
  };
}

const noTerminal = (what: string, hint: string) =>
  new SpawnletError('ERR_NO_TERMINAL', `${what} needs a terminal, and standard input is none`, { hint });

/**
 * Refuses to open a shell or a login for an input that is no terminal: it would wait for ever, or lose the input. `instead`
 * is a command that passes an input on.
 *
 * @throws ERR_NO_TERMINAL
 */
export function needTerminal(command: string, instead: string): void {
  if (!process.stdin.isTTY) throw noTerminal(command, `spawnlet ${instead}`);
}

const falseTerminal = (command: string) => noTerminal('-t', `leave -t out: spawnlet ${command} -i …`);

/** Refuses to pass an input on that is no terminal to a program that has one: it would not know where it ends. @throws ERR_NO_TERMINAL */
export function refuseFalseTerminal(request: Pick<RunRequest, 'terminal' | 'stdin'>): void {
  if (request.terminal && request.stdin && !process.stdin.isTTY) throw falseTerminal('run');
}

/**
 * Standard input of a command of exec. Its terminal is made by crun, which takes the settings of the caller's: with `-t` that
 * one is its input, whatever `-i` says.
 *
 * @throws ERR_NO_TERMINAL
 */
export function inputOfExec(interactive: boolean, terminal: boolean): 'inherit' | 'ignore' {
  if (terminal && !process.stdin.isTTY) throw falseTerminal('exec');
  return terminal || interactive ? 'inherit' : 'ignore';
}

/** Of the caller's terminal; undefined where it has none, or none of a size. */
export function terminalSize(): TerminalSize | undefined {
  const { isTTY, rows, columns } = process.stdout;
  return isTTY && rows > 0 && columns > 0 ? { rows, columns } : undefined;
}

/** What tells its size, and when that changes: a terminal's `tty.WriteStream`. */
export interface Sized {
  readonly rows: number;
  readonly columns: number;
  on(event: 'resize', listener: () => void): unknown;
  off(event: 'resize', listener: () => void): unknown;
}

/** Tells the size of a terminal, now and when it changes: one telling after the other, so that the last size is told last. */
export function passSize(
  terminal: Sized,
  tell: (rows: number, columns: number) => Promise<unknown>,
): Disposable {
  let told: Promise<unknown> = Promise.resolve();
  const size = () => {
    told = told.then(() => tell(terminal.rows, terminal.columns)).catch(() => undefined);
  };
  terminal.on('resize', size);
  size();
  return { [Symbol.dispose]: () => void terminal.off('resize', size) };
}

/** Makes the caller's terminal raw while it is a container's, and passes its size on. */
function takeTerminal(session: Session): Disposable {
  const { stdin, stdout } = process;
  if (stdin.isTTY) stdin.setRawMode(true);
  const sizes = stdout.isTTY ? passSize(stdout, (rows, columns) => session.resize(rows, columns)) : undefined;
  return {
    [Symbol.dispose]() {
      sizes?.[Symbol.dispose]();
      if (stdin.isTTY) stdin.setRawMode(false);
    },
  };
}

/** SIGINT and SIGTERM go to the program from now on. */
export function passSignals(apps: Apps, name: string, context: Context): void {
  context.takeSignals(signal => {
    void apps.kill(name, parseSignal(signal), context.signal).catch(() => undefined);
  });
}

/** Copies between the caller and the container. */
async function copy(
  session: Session,
  attachment: Attachment,
  streams: Streams,
  context: Context,
): Promise<'detached' | 'ended'> {
  using _terminal = streams.detachKeys.length > 0 ? takeTerminal(session) : undefined;
  return await session.copy(attachment, streams, context.signal);
}

/** What is told of a run in which the kernel has killed for want of memory: the program, or only a child of it. */
export const outOfMemory = (name: string, exitCode: number): string =>
  exitCode === 137
    ? `${name} was out of memory and was killed`
    : `a process of ${name} was killed: out of memory`;

/** Attaches to a container that is about to run, and gives its exit code; 0 if the user detaches. */
export async function follow(
  apps: Apps,
  session: Session,
  watch: UnitWatch,
  streams: Streams,
  name: string,
  context: Context,
): Promise<number> {
  let attachment: Attachment | undefined;
  try {
    await session.pass(async () => {
      attachment = await session.attach();
    }, context.signal);
    if (!attachment) return 125;
    passSignals(apps, name, context);
    const end = await copy(session, attachment, streams, context);
    if (end === 'detached') return 0;
    const code = await session.ended(watch, context.signal);
    if (session.outOfMemory) process.stderr.write(`spawnlet: ${outOfMemory(name, code)}\n`);
    return code;
  } finally {
    await attachment?.[Symbol.asyncDispose]();
  }
}

/** Attaches to a container that runs already. */
export async function join(
  session: Session,
  watch: UnitWatch,
  streams: Streams,
  context: Context,
): Promise<number> {
  await using attachment = await session.attach();
  const end = await copy(session, attachment, streams, context);
  return end === 'detached' ? 0 : await session.ended(watch, context.signal);
}

/** The same for an engine without conmon: a child for each stream copies between a FIFO and the caller. */
export async function followPipes(
  apps: Apps,
  session: Session,
  watch: UnitWatch,
  request: Pick<RunRequest, 'name' | 'stdin'>,
  context: Context,
): Promise<number> {
  passSignals(apps, request.name, context);
  let copied: Promise<unknown> | undefined;
  await session.pass(async () => {
    copied = session.pipes(request.stdin);
  }, context.signal);
  await copied;
  return await session.ended(watch, context.signal);
}
