import { constants } from 'node:os';
import { SpawnletError } from '../host/error.ts';
import { unitPath } from '../systemd/properties.ts';
import type { MachineChange } from './api.ts';
import { type MachineDependencies, note, type Parts } from './change.ts';
import { shownFields } from './list.ts';
import { parseMachineName } from './names.ts';
import { getMade, isUp, noMachine, unitState } from './observe.ts';
import { placesOf } from './places.ts';
import { type Running, runningMachine } from './running.ts';

type Of<D extends MachineChange['do']> = Extract<MachineChange, { do: D }>;

/** A start that fails for want of something of the host says what that is. */
async function whySo(deps: MachineDependencies, name: string, start: Promise<void>): Promise<void> {
  try {
    await start;
  } catch (error) {
    const { whyNotStarted } = await import('./sources.ts');
    throw await whyNotStarted((await getMade(deps.host.files, name)).spec, error);
  }
}

/** Waits until a machine whose start is queued is up: until its own init has said so. */
export async function* started(deps: MachineDependencies, name: string): Parts {
  yield {
    do: 'job',
    shown: [],
    async run(signal) {
      const systemd = await deps.systemd();
      await whySo(deps, name, systemd.started(placesOf(name).unit, signal));
      return [];
    },
  };
}

/** Starts a machine that is there and waits until it is up. Throws `ERR_BUSY` while somebody else changes it. */
export async function* startMade(deps: MachineDependencies, name: string, signal: AbortSignal): Parts {
  await getMade(deps.host.files, name);
  const systemd = await deps.systemd();
  const { unit } = placesOf(name);
  const state = await unitState(systemd, unit, signal);
  if (state === 'active') return;
  yield {
    do: 'job',
    shown: [{ do: 'start-unit', name: unit }],
    async run(wanted) {
      if (state === 'failed') await systemd.resetFailedUnit(unit, wanted);
      const start = whileQueued(deps, name, wanted, queued =>
        systemd.startUnit(unit, 'replace', wanted, queued),
      );
      await whySo(deps, name, start);
      return [];
    },
  };
}

/** Who changes a machine finds it stopped, or with a job that starts it; two that start it do not refuse each other. */
async function whileQueued(
  { host: { locks } }: MachineDependencies,
  name: string,
  signal: AbortSignal,
  run: (queued: () => void) => Promise<void>,
): Promise<void> {
  await using held = new AsyncDisposableStack();
  held.use(await locks.wait(`start-${name}`, signal));
  held.use(await locks.take(`machine-${name}`));
  await run(() => {
    held.disposeAsync().catch(() => undefined);
  });
}

/** Seconds after which systemd kills what does not stop. */
async function deadlineOf(deps: MachineDependencies, unit: string, signal: AbortSignal): Promise<number> {
  const systemd = await deps.systemd();
  const properties = await systemd.rawProperties(unitPath(unit), 'org.freedesktop.systemd1.Service', signal);
  return Number(properties.get('TimeoutStopUSec')) / 1e6;
}

async function refuseLater(
  deps: MachineDependencies,
  unit: string,
  seconds: number,
  signal: AbortSignal,
): Promise<void> {
  const deadline = await deadlineOf(deps, unit, signal);
  if (seconds <= deadline) return;
  throw new SpawnletError('ERR_FLAG_VALUE', `${unit} is killed ${deadline} s after it is asked to stop`, {
    hint: `for longer: systemctl edit ${unit}, TimeoutStopSec=${seconds}`,
  });
}

async function killAfter(
  deps: MachineDependencies,
  unit: string,
  seconds: number | undefined,
  job: 'stop' | 'restart',
  signal: AbortSignal,
): Promise<'killed' | 'in time'> {
  if (seconds === undefined) return 'in time';
  try {
    await deps.host.clock.sleep(seconds * 1000, signal);
  } catch {
    return 'in time';
  }
  const systemd = await deps.systemd();
  if (job === 'restart' && (await unitState(systemd, unit, signal)) === 'activating') return 'in time';
  await systemd.killUnit(unit, 'all', constants.signals.SIGKILL, signal);
  return 'killed';
}

const killedNote = (name: string, seconds: number | undefined): string =>
  `${name} did not stop ${seconds === undefined ? 'in time' : `within ${seconds} s`}, and was killed`;

/** Asks a machine's init to shut down; kills the machine if it has not by the deadline, and says so. */
async function stopUnit(
  deps: MachineDependencies,
  name: string,
  seconds: number | undefined,
  signal: AbortSignal,
): Promise<readonly string[]> {
  const systemd = await deps.systemd();
  const { unit } = placesOf(name);
  if (seconds !== undefined) await refuseLater(deps, unit, seconds, signal);
  const job = await systemd.enqueue('stop', unit, 'replace', signal);
  const late = new AbortController();
  const timer = killAfter(deps, unit, seconds, 'stop', AbortSignal.any([signal, late.signal]));
  try {
    await job.done;
  } finally {
    late.abort();
  }
  const killed = (await timer) === 'killed';
  const left = await systemd.isLoaded(unit, signal);
  const result = left ? (await systemd.unitProperties(unit, signal)).Result : '';
  if (left) await systemd.resetFailedUnit(unit, signal);
  return killed || result === 'timeout' ? [killedNote(name, seconds)] : [];
}

export async function* stop(deps: MachineDependencies, change: Of<'stop'>, signal: AbortSignal): Parts {
  const { name, seconds, force } = change;
  await getMade(deps.host.files, name);
  const { unit } = placesOf(name);
  const state = await unitState(await deps.systemd(), unit, signal);
  if (!isUp(state)) {
    if (state === 'failed') yield note(`${name} has failed and does not run`);
    return;
  }
  yield {
    do: 'job',
    shown: [{ do: force ? 'kill-unit' : 'stop-unit', name: unit }],
    run: wanted => stopUnit(deps, name, force ? 0 : seconds, wanted),
  };
}

/** Stops a machine and starts it again: one job, which systemd ends whatever becomes of who asked. */
export async function* restart(deps: MachineDependencies, change: Of<'restart'>, signal: AbortSignal): Parts {
  const { name, seconds } = change;
  await getMade(deps.host.files, name);
  const { unit } = placesOf(name);
  const systemd = await deps.systemd();
  if (!isUp(await unitState(systemd, unit, signal))) {
    yield* startMade(deps, name, signal);
    return;
  }
  yield {
    do: 'job',
    shown: [
      { do: 'stop-unit', name: unit },
      { do: 'start-unit', name: unit },
    ],
    async run(wanted) {
      if (seconds !== undefined) await refuseLater(deps, unit, seconds, wanted);
      const late = new AbortController();
      const timer = killAfter(deps, unit, seconds, 'restart', AbortSignal.any([wanted, late.signal]));
      try {
        const restarted = whileQueued(deps, name, wanted, queued =>
          systemd.restartUnit(unit, 'replace', wanted, queued),
        );
        await whySo(deps, name, restarted);
      } finally {
        late.abort();
      }
      return (await timer) === 'killed' ? [killedNote(name, seconds)] : [];
    },
  };
}

/** Throws `ERR_RUNNING`. */
export async function refuseRunning(
  deps: MachineDependencies,
  name: string,
  what: string,
  signal: AbortSignal,
): Promise<void> {
  const systemd = await deps.systemd();
  const { unit } = placesOf(name);
  const state = await unitState(systemd, unit, signal);
  // What has to be mounted first keeps it down for a while yet.
  const isQueued = state !== 'idle' && (await systemd.unitProperty(unit, 'Job', signal)) !== 0;
  if (!isUp(state) && !isQueued) return;
  throw new SpawnletError('ERR_RUNNING', `machine ${name} runs, and cannot be ${what}`, {
    hint: `spawnlet machine stop ${name} first${what === 'removed' ? `, or spawnlet machine rm -f ${name}` : ''}`,
  });
}

/** A machine that runs. Throws `ERR_NO_MACHINE`, `ERR_NOT_RUNNING`. */
export async function runningOf(
  deps: MachineDependencies,
  name: string,
  signal: AbortSignal,
): Promise<Running> {
  const { files } = deps.host;
  const text = await files.read(placesOf(parseMachineName(name)).spec);
  if (text === undefined) throw noMachine(name);
  return runningMachine(
    { name, start: { kind: shownFields(text).start } },
    await deps.systemd(),
    files,
    signal,
  );
}

export async function* kill(deps: MachineDependencies, change: Of<'kill'>, signal: AbortSignal): Parts {
  const { name, whom, signalNumber } = change;
  const { leader } = await runningOf(deps, name, signal);
  const { unit } = placesOf(name);
  yield {
    do: 'job',
    shown: [{ do: 'kill-unit', name: unit }],
    async run(wanted) {
      if (whom === 'leader') process.kill(leader, signalNumber);
      else await (await deps.systemd()).killUnit(unit, 'all', signalNumber, wanted);
      return [];
    },
  };
}
