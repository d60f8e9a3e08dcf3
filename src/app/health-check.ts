import { constants } from 'node:os';
import { isHeld } from '../engine/crun.ts';
import { capture, execIn, type ProcessSpec } from '../engine/exec.ts';
import { SpawnletError } from '../host/error.ts';
import type { Host } from '../host/host.ts';
import { afterResult, type Healthcheck, type HealthResult, keptOutput, type OnFailure } from './health.ts';
import { type AppDependencies, healthFileOf, notRunning, runningApp } from './observe.ts';
import { unitOf } from './plan.ts';
import { signalApp } from './stop.ts';

/**
 * Asks a running container whether it is well, notes what it said, and does what is to be done with one that is not.
 *
 * @throws ERR_NOT_RUNNING, ERR_NO_HEALTHCHECK
 */
export async function checkHealth(
  deps: AppDependencies,
  name: string,
  signal: AbortSignal,
): Promise<HealthResult> {
  const { host } = deps;
  const { clock, files, locks } = host;
  // A timer and a person ask one after the other.
  await using _lock = await locks.wait(`health-${name}`, signal);
  const app = await runningApp(deps, name, signal);
  const { health } = app;
  if (!health)
    throw new SpawnletError('ERR_NO_HEALTHCHECK', `${name} has no health check`, {
      hint: 'spawnlet run --health-cmd COMMAND, or an image with a HEALTHCHECK',
    });
  // What has not begun is not unwell: the timer is there with the unit, the program when its container is made.
  if (await isHeld(files, name)) throw notRunning(name, 'starting');
  const { check } = health;
  const { consoleSize: _size, ...process } = app.bundle.process;
  const start = clock.now();
  const answer = await askHealth(
    host,
    name,
    { ...process, args: check.args, terminal: false },
    check,
    signal,
  );
  const result = { start, end: clock.now(), ...answer };
  const started = app.state.kind === 'running' ? app.state.since : start;
  const now = afterResult(health.known, check, result, started);
  await files.write(healthFileOf(name), `${JSON.stringify(now)}\n`, 0o600);
  if (now.status === 'unhealthy') await unwell(deps, name, check.onFailure, signal);
  return result;
}

async function unwell(
  deps: AppDependencies,
  name: string,
  action: OnFailure,
  signal: AbortSignal,
): Promise<void> {
  const systemd = await deps.systemd();
  // Not as somebody kills it: its restart policy holds.
  if (action === 'kill')
    await signalApp(deps, await runningApp(deps, name, signal), constants.signals.SIGKILL, signal);
  if (action === 'stop') await systemd.stopUnit(unitOf(name), 'replace', signal);
  if (action === 'restart') await (await systemd.enqueue('restart', unitOf(name), 'replace', signal)).done;
}

/** The answer to one question; what does not end in time is killed. */
async function askHealth(
  host: Host,
  name: string,
  process: ProcessSpec,
  { timeout }: Healthcheck,
  signal: AbortSignal,
): Promise<Pick<HealthResult, 'exitCode' | 'output'>> {
  const late = AbortSignal.timeout(Math.max(1, timeout));
  try {
    const either = AbortSignal.any([signal, late]);
    const { exitCode, output } = await capture(
      (stdio, begun) => execIn(host, name, process, stdio, begun, either),
      either,
    );
    return { exitCode, output: output.subarray(0, keptOutput).toString() };
  } catch (error) {
    signal.throwIfAborted();
    if (late.aborted) return { exitCode: -1, output: `it did not end within ${timeout} ms` };
    if (error instanceof SpawnletError && error.code === 'ERR_EXEC')
      return { exitCode: -1, output: error.message };
    throw error;
  }
}
