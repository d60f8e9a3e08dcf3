import type { ChildProcess } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { constants } from 'node:os';
import { Attachment, resize, type Streams } from '../engine/attach.ts';
import { isContainerId } from '../engine/crun.ts';
import { runDirectoryOf } from '../engine/script.ts';
import { ended } from '../host/child.ts';
import { isErrno, SpawnletError } from '../host/error.ts';
import type { Host } from '../host/host.ts';
import { until } from '../host/presence.ts';
import { type DirectoryWatch, watchDirectory } from '../host/watch.ts';
import type { SystemdClient } from '../systemd/client.ts';
import type { UnitProperties } from '../systemd/properties.ts';
import type { UnitWatch } from '../systemd/watch.ts';
import { gateOf, waitingFileOf } from './plan.ts';
import { exitCodeOf, parseRecord, startFailure, startHint } from './status.ts';

interface Dependencies {
  readonly host: Host;
  systemd(): Promise<SystemdClient>;
}

/** Which container it is. */
export interface Attached {
  /** By which the engine knows it. */
  readonly name: string;
  readonly unit: string;
  /** Of its bundle. */
  readonly directory: string;
}

interface Run {
  /** Whether the end of a run is the end of its unit, which writes the record; with `--rm` there is none to wait for. */
  readonly whole: boolean;
  /** Called when the engine has made the container. */
  made(): Promise<void>;
}

/** One run of a container, as the command that started it or attaches to it sees it. */
export class Session {
  readonly #of: Attached;
  readonly #deps: Dependencies;
  readonly #run: Run;
  #files: DirectoryWatch | undefined;
  #outOfMemory = false;
  #hasPassed = false;
  readonly #exit = Promise.withResolvers<number>();
  #exitCode: number | undefined;

  constructor(of: Attached, deps: Dependencies, run: Run = { whole: true, made: async () => undefined }) {
    this.#of = of;
    this.#deps = deps;
    this.#run = run;
  }

  /** Keeps what happens to the unit from now on, so that {@link ended} knows the end of a run that is over at once. */
  async watch(signal: AbortSignal): Promise<UnitWatch> {
    return (await this.#deps.systemd()).watchUnit(this.#of.unit, signal);
  }

  /**
   * Waits until the container is made, however long that takes, then calls `atGate` and lets its program run.
   *
   * @throws ERR_START, with 126 or 127 as exit code where the program cannot be run or is not there.
   */
  async pass(atGate: () => Promise<void>, signal: AbortSignal): Promise<void> {
    if (!(await this.#isMade('made', signal))) throw this.#failed(await this.#errorText());
    await this.#run.made();
    this.#watchFiles();
    await atGate();
    // The script has the other end open; what is written stays there until it is read.
    await writeFile(gateOf(this.#of.name), '\n', { flag: 'r+' });
    this.#hasPassed = true;
    rmSync(waitingFileOf(this.#of.directory), { force: true });
  }

  /** Whether the program was let run by {@link pass}. */
  get hasPassed(): boolean {
    return this.#hasPassed;
  }

  /**
   * Waits until a container is made whose unit was started without anybody who attaches.
   *
   * @throws ERR_START as {@link pass} does
   */
  async begun(signal: AbortSignal): Promise<void> {
    if (await this.#isMade('pid', signal)) return;
    const { files } = this.#deps.host;
    const systemd = await this.#deps.systemd();
    const unit = await systemd.unitProperties(this.#of.unit, signal);
    const record = parseRecord(await files.read(`${this.#of.directory}/record`));
    // It was made, and has ended already.
    if (record !== undefined && record.invocation === unit.InvocationID) return;
    if (unit.ActiveState === 'failed' || isWaiting(unit)) throw this.#failed(await this.#errorText());
  }

  /** Waits for a file of the run; false if the unit has ended without. */
  async #isMade(file: string, signal: AbortSignal): Promise<boolean> {
    const over = new AbortController();
    const either = AbortSignal.any([signal, over.signal]);
    const notMade = new Error('the unit has ended before the container was made');
    const gone = this.#gone(either).then(() => over.abort(notMade));
    gone.catch(() => undefined);
    try {
      await until('there', `${runDirectoryOf(this.#of.name)}/${file}`, either);
      return true;
    } catch (error) {
      if (error !== notMade && !isErrno(error, 'ENOENT')) throw error;
      return false;
    } finally {
      over.abort();
    }
  }

  /** Why the container was not made. */
  async #errorText(): Promise<string> {
    return (await this.#deps.host.files.read(`${this.#of.directory}/error`)) ?? '';
  }

  /** Resolves when the unit has ended, or has already. */
  async #gone(signal: AbortSignal): Promise<void> {
    const systemd = await this.#deps.systemd();
    const unit = this.#of.unit;
    await using watch = systemd.watchUnit(unit, signal);
    if (!(await systemd.isLoaded(unit, signal))) return;
    const [ActiveState, SubState] = await Promise.all([
      systemd.unitProperty(unit, 'ActiveState', signal),
      systemd.unitProperty(unit, 'SubState', signal),
    ]);
    if (!isUp(ActiveState) || isWaiting({ SubState })) return;
    for await (const change of watch) {
      if (change.kind === 'unloaded') {
        if (!(await systemd.isLoaded(unit, signal))) return;
      } else {
        const { ActiveState, SubState = '' } = change.changed;
        if ((ActiveState !== undefined && !isUp(ActiveState)) || isWaiting({ SubState })) return;
      }
    }
  }

  #failed(text: string): SpawnletError {
    if (text.includes("unknown filesystem type 'overlay'"))
      return new SpawnletError('ERR_NO_OVERLAY', 'this kernel has no overlay file system', {
        hint: 'modprobe overlay; spawnlet doctor says more',
      });
    const { message, exitCode } = startFailure(text);
    return new SpawnletError('ERR_START', `${this.#of.name} did not start: ${message}`, {
      exitCode,
      hint: startHint(text, exitCode, this.#of.unit),
    });
  }

  /** Connects to the streams of the container that runs. */
  attach(): Promise<Attachment> {
    return Attachment.connect(`${this.#of.directory}/attach`);
  }

  /** Copies the streams until the container closes them, or until the user leaves. */
  async copy(attachment: Attachment, streams: Streams, signal: AbortSignal): Promise<'detached' | 'ended'> {
    this.#watchFiles();
    return await attachment.copy(streams, signal);
  }

  /**
   * Takes notice of the files that conmon makes: one when the kernel has killed for want of memory, and one with the exit
   * code, which counts where systemd forgets the unit while it is not heard. Both are gone with the run.
   */
  #watchFiles(): void {
    const directory = runDirectoryOf(this.#of.name);
    const notice = (file: string) => {
      if (file === 'oom') this.#outOfMemory = true;
      if (!isContainerId(file)) return;
      this.#exitCode ??= exitCodeIn(`${directory}/${file}`);
      if (this.#exitCode !== undefined) this.#exit.resolve(this.#exitCode);
    };
    this.#files ??= watchDirectory(directory, file => {
      for (const each of file === null ? namesIn(directory) : [file]) notice(each);
    });
  }

  /** Whether the run that was attached to was out of memory; known when it has {@link ended}. */
  get outOfMemory(): boolean {
    return this.#outOfMemory;
  }

  [Symbol.dispose](): void {
    this.#files?.close();
  }

  /** Copies the streams of an engine without conmon, through FIFOs; resolves at the end of the outputs. */
  async pipes(stdin: boolean): Promise<void> {
    const at = runDirectoryOf(this.#of.name);
    const { children } = this.#deps.host;
    const outputs = (['stdout', 'stderr'] as const).map(stream =>
      children.spawn(['cat', `${at}/${stream}`], {
        stdio: ['ignore', stream === 'stdout' ? 'inherit' : 2, 'inherit'],
        detached: true,
      }),
    );
    const input = stdin ? this.input() : undefined;
    await Promise.all(outputs.map(ended));
    input?.kill('SIGTERM');
  }

  /** Has a child copy the caller's input into the container's, which is a FIFO. Whoever starts it ends it. */
  input(): ChildProcess {
    return this.#deps.host.children.spawn(
      ['sh', '-c', 'exec cat > "$0"', `${runDirectoryOf(this.#of.name)}/stdin`],
      { stdio: ['inherit', 'ignore', 'inherit'] },
    );
  }

  resize(rows: number, columns: number): Promise<void> {
    return resize(`${this.#of.directory}/ctl`, rows, columns);
  }

  /**
   * The exit code of the run that `watch` has seen from its start, when the unit has ended; with `--rm`, when the container
   * has ended and its files are gone.
   */
  async ended(watch: UnitWatch, signal: AbortSignal): Promise<number> {
    const over = new AbortController();
    const either = AbortSignal.any([signal, over.signal]);
    try {
      const ends = [this.#endedUnit(watch, signal)];
      return await Promise.race(this.#run.whole ? ends : [...ends, this.#removed(either)]);
    } finally {
      over.abort();
    }
  }

  /** conmon's successor removes the files as its last act; systemd hears of its end a few milliseconds later. */
  async #removed(signal: AbortSignal): Promise<number> {
    const code = await this.#exit.promise;
    await until('gone', this.#of.directory, signal);
    return code;
  }

  async #endedUnit(watch: UnitWatch, signal: AbortSignal): Promise<number> {
    let state: Partial<UnitProperties> = {};
    for await (const change of watch) {
      // To ask for a unit that is not there loads it for a moment: such changes come before the run's own.
      const started = (state.ExecMainStartTimestamp ?? 0) > 0;
      if (change.kind === 'unloaded') {
        // systemd drops every unit as it reloads or re-executes, and loads them again.
        if (started && !(await (await this.#deps.systemd()).isLoaded(this.#of.unit, signal))) break;
        continue;
      }
      state = { ...state, ...change.changed };
      if (!this.#run.whole && (state.ExecMainExitTimestamp ?? 0) > 0) break;
      if (started && state.Job === 0 && ['inactive', 'failed'].includes(state.ActiveState ?? '')) break;
    }
    if (!((state.ExecMainExitTimestamp ?? 0) > 0) && this.#exitCode !== undefined) return this.#exitCode;
    const killed = state.ExecMainCode !== 1;
    return exitCodeOf(
      {
        code: killed ? 'killed' : 'exited',
        status: killed ? nameOf(state.ExecMainStatus ?? 0) : String(state.ExecMainStatus),
      },
      constants.signals,
    );
  }
}

/** It has ended, and systemd is about to start it again. */
const isWaiting = ({ SubState }: Pick<UnitProperties, 'SubState'>) => SubState.startsWith('auto-restart');

const isUp = (state: string) => ['active', 'activating', 'reloading'].includes(state);

const nameOf = (number: number) =>
  Object.entries(constants.signals)
    .find(([, value]) => value === number)?.[0]
    .slice(3) ?? '';

/** What conmon has written; undefined if it is gone already. */
const namesIn = (directory: string): string[] => (existsSync(directory) ? readdirSync(directory) : []);

function exitCodeIn(path: string): number | undefined {
  try {
    const code = Number.parseInt(readFileSync(path, 'utf8'), 10);
    return Number.isNaN(code) ? undefined : code;
  } catch {
    return undefined;
  }
}
