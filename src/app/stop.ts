import { constants } from 'node:os';
import { crunWords } from '../engine/crun.ts';
import { signalName } from '../engine/signal.ts';
import { SpawnletError } from '../host/error.ts';
import type { Host } from '../host/host.ts';
import { type App, type AppDependencies, getApp, runningApp } from './observe.ts';
import { annotation, unitOf } from './plan.ts';

/** Sends the stop signal, and SIGKILL after `seconds` (the container's own if not given). */
export async function stopApp(
  deps: AppDependencies,
  name: string,
  seconds: number | undefined,
  signal: AbortSignal,
): Promise<void> {
  const app = await getApp(deps, name, signal);
  if (seconds !== undefined && seconds > app.request.stopTimeout) {
    throw new SpawnletError(
      'ERR_FLAG_VALUE',
      `${name} is killed ${app.request.stopTimeout} s after its stop signal`,
      {
        hint: `for longer: systemctl edit ${unitOf(name)}, TimeoutStopSec=${seconds}`,
      },
    );
  }
  const systemd = await deps.systemd();
  if (seconds === undefined || app.state.kind !== 'running') {
    await systemd.stopUnit(unitOf(name), 'replace', signal);
    return;
  }
  const job = await systemd.enqueue('stop', unitOf(name), 'replace', signal);
  const late = new AbortController();
  const killed = deps.host.clock.sleep(seconds * 1000, late.signal).then(
    () => systemd.killUnit(unitOf(name), 'all', constants.signals.SIGKILL, signal),
    () => undefined,
  );
  try {
    await job.done;
  } finally {
    late.abort();
    await killed;
  }
}

/**
 * Sends a signal to the container's PID 1. What ends by SIGKILL or by its stop signal stays down, as with docker and podman: a
 * restart policy is for ends that nobody has asked for.
 */
export async function killApp(
  deps: AppDependencies,
  name: string,
  number: number,
  signal: AbortSignal,
): Promise<void> {
  const app = await runningApp(deps, name, signal);
  const systemd = await deps.systemd();
  const stop = () => systemd.enqueue('stop', unitOf(name), 'replace', signal);
  if (app.request.restart.kind === 'no') return signalApp(deps, app, number, signal);
  if (number === constants.signals.SIGKILL) {
    // systemd waits a second before it starts the unit again; the stop would send its own signal first.
    await signalApp(deps, app, number, signal);
    await stop();
  } else if (signalName(number) === (app.bundle.annotations[annotation.stopSignal] ?? 'SIGTERM'))
    await stop();
  else await signalApp(deps, app, number, signal);
}

/** Sends it, whatever that means for the unit. */
export async function signalApp(
  deps: AppDependencies,
  app: App,
  number: number,
  signal: AbortSignal,
): Promise<void> {
  const { name } = app;
  if (app.request.engine === 'nspawn') return killLeader(deps.host, name, app.unit.MainPID, number);
  const result = await deps.host.children.capture(
    crunWords(name, 'kill', app.unit.InvocationID, String(number)),
    { signal },
  );
  if (result.code !== 0) throw new SpawnletError('ERR_KILL', `${name}: ${result.stderr.trim()}`);
}

/** Signals PID 1 of a container of systemd-nspawn: the grandchild of the unit's main process with a PID namespace of its own. */
async function killLeader({ files }: Host, name: string, main: number, number: number): Promise<void> {
  const namespaceOf = async (pid: number) => {
    const entry = await files.look(`/proc/${pid}/ns/pid`);
    return entry?.kind === 'link' ? entry.target : undefined;
  };
  const own = await namespaceOf(main);
  const childrenOf = async (pid: number) =>
    ((await files.read(`/proc/${pid}/task/${pid}/children`)) ?? '').split(' ').filter(Boolean).map(Number);
  const children = await childrenOf(main);
  for (const pid of (await Promise.all(children.map(childrenOf))).flat()) {
    const namespace = await namespaceOf(pid);
    if (namespace === undefined || namespace === own) continue;
    process.kill(pid, number);
    return;
  }
  throw new SpawnletError('ERR_KILL', `${name} has no process to signal`, {
    hint: 'it may be starting or ending',
  });
}
