import { targetOf, unitOf } from '../../unit/names.ts';
import { containerIdOf, readTraces } from '../end.ts';
import type { Kept } from '../kept.ts';
import { running } from '../transition.ts';
import { follow, hasEnded, isDown, startOf } from './follow.ts';
import { askProbes } from './hooks.ts';
import { tellNames } from './sandbox.ts';
import { stopContainer } from './stop.ts';
import { factsOf, memberOf, type Work } from './work.ts';

/** Whether this systemd has the pod's target up: it goes with a boot, also where the kernel stays, as in a lab. */
async function isUp({ deps, identity }: Work, signal: AbortSignal): Promise<boolean> {
  const systemd = await deps.systemd();
  return (await systemd.unitProperty(targetOf(identity), 'ActiveState', signal)) === 'active';
}

/** Compares what another worker had recorded with what is there now, and goes on from that. */
export async function goOn(work: Work, former: Kept, signal: AbortSignal): Promise<void> {
  const { deps, record } = work;
  const boot = deps.host.locks.self.boot;
  const isSameBoot = former.boot === boot;
  const { sandbox, containers } = former.observed;
  const lostSandbox = !isSameBoot || sandbox.kind === 'making' || !(await isUp(work, signal));
  if (!isSameBoot) await record.keep({ boot });
  const { addresses } = deps.node;
  await record.observe(observed =>
    !lostSandbox && JSON.stringify(observed.hostIPs) === JSON.stringify(addresses)
      ? observed
      : { ...observed, hostIPs: addresses, ...(lostSandbox && { sandbox: { kind: 'none' } }) },
  );
  // Somebody may answer for names who was not there when the pod was made.
  if (!lostSandbox && sandbox.kind === 'ready') await tellNames(work, factsOf(work).podIPs, signal);
  for (const [name, { state }] of Object.entries(containers)) {
    if (state.kind !== 'running' && state.kind !== 'starting') continue;
    if (isSameBoot) await goOnWith(work, name, signal);
    else await hasEnded(work, name, undefined, signal);
  }
}

async function goOnWith(work: Work, name: string, signal: AbortSignal): Promise<void> {
  const { deps, identity, record, runs, tasks } = work;
  const systemd = await deps.systemd();
  const unit = unitOf(identity, name);
  const run = runs.watch(name, signal);
  const changes = systemd.watchUnit(unit, run);
  const now = await systemd.unitProperties(unit, signal);
  const state = record.observed.containers[name]?.state;
  if (state?.kind === 'starting') {
    const { record: trace, error } = await readTraces(deps.host.files, identity.uid, name);
    // Traces from before the bundle was made are those of the run before.
    const isBegun = state.created && (trace !== undefined || error !== '');
    if (isDown(now) && !isBegun) {
      // It was decided to start it, and no more.
      const { failure } = state;
      return record.container(name, each => ({
        ...each,
        state: { kind: 'waiting', ...(failure && { failure }) },
      }));
    }
    await record.container(
      name,
      running({
        containerID: containerIdOf(now.InvocationID || (trace?.invocation ?? '')),
        startedAt: startOf(now),
        attempt: state.attempt,
        restartCount: state.restartCount,
      }),
    );
  }
  tasks.run(() => follow(work, name, changes, now, signal), signal);
  tasks.run(() => askProbes(work, memberOf(work, name).spec, Math.random(), run), signal);
  const { stopping: wanted } = { stopping: undefined, ...record.observed.containers[name]?.state };
  if (!wanted || wanted.stage === 'turn') return;
  const kind = wanted.stage === 'hook' ? 'preStop' : 'stop';
  tasks.run(() => stopContainer(work, { kind, container: name, ...wanted }, signal), signal);
}
