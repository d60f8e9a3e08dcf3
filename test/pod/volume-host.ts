/** Plans of volumes on this host, applied as the agent would, or by an agent that is killed between two steps. */
import { mkdtemp, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { planRun } from '../../src/app/plan.ts';
import type { ContainerSpec, Mount } from '../../src/engine/container.ts';
import { makeApplier, type Watchers } from '../../src/host/apply.ts';
import { realHost } from '../../src/host/host.ts';
import { FakeLocks } from '../../src/host/lock.ts';
import { hostExecutors } from '../../src/host/step.ts';
import { layersDirectory, lockDirectory, stateDirectory } from '../../src/names.ts';
import { volumeExecutors } from '../../src/pod/volumes/executors.ts';
import { mountUnitsThere, planVolumeRemoval } from '../../src/pod/volumes/removal.ts';
import type { VolumeStep } from '../../src/pod/volumes/step.ts';
import { SystemdClient } from '../../src/systemd/client.ts';
import { systemdExecutors } from '../../src/systemd/executors.ts';
import type { UnitProperties } from '../../src/systemd/properties.ts';
import { TestObjects } from '../harness/pod-volumes.ts';
import { runPlan } from '../harness/run-plan.ts';

export const host = realHost(lockDirectory, 'tests of volumes');
export const objects = new TestObjects();
export const room = { host, objects: async () => objects };
export const signal = AbortSignal.timeout(300_000);

let client: Promise<SystemdClient> | undefined;
export const systemd = (): Promise<SystemdClient> => (client ??= SystemdClient.connect({ signal }));
export async function disconnect(): Promise<void> {
  await (await client)?.[Symbol.asyncDispose]();
}

let locks = new FakeLocks();
let count = 0;

const applier = (watchers: Watchers = {}) =>
  makeApplier<VolumeStep>(
    { ...hostExecutors(host.files), ...systemdExecutors(systemd), ...volumeExecutors(room) },
    host.files,
    locks,
    `${stateDirectory}/journal-of-tests`,
    watchers,
  );

type End = 'undo' | 'finish';

export const apply = (steps: readonly VolumeStep[], ifInterrupted: End = 'undo'): Promise<void> =>
  applier().apply({ title: 'test', ifInterrupted, steps }, signal);

/** What would still change something. */
export const pending = (steps: readonly VolumeStep[]): Promise<VolumeStep[]> =>
  applier().pending({ title: 'test', ifInterrupted: 'undo', steps });

/** Removes all of a pod, as somebody does who knows its UID alone. */
export async function remove(uid: string): Promise<void> {
  await apply(planVolumeRemoval(uid, await mountUnitsThere(uid, host.files)), 'finish');
}

/** Applies a plan in a process that is killed when it has passed so many borders. False if it goes through. */
export async function killedAt(
  steps: readonly VolumeStep[],
  ifInterrupted: End,
  border: number,
): Promise<boolean> {
  let passed = 0;
  const killed = Promise.withResolvers<true>();
  const victim = applier({
    border: () => {
      if (++passed < border) return;
      killed.resolve(true);
      return new Promise<void>(() => undefined);
    },
  });
  const plan = { title: 'test', ifInterrupted, steps };
  const wasKilled = await Promise.race([killed.promise, victim.apply(plan, signal).then(() => false)]);
  locks.die();
  locks = locks.next('tests of volumes');
  return wasKilled;
}

/** Runs a script in a container of this host's own programs, with mounts, to its end; gives what it said. */
export async function runIn(
  mounts: readonly Mount[],
  script: string,
  capAdd: readonly string[] = [],
): Promise<string> {
  const name = `volumes-${++count}`;
  const layer = `${layersDirectory}/thishost`;
  await host.files.makeDirectory(layersDirectory, 0o755);
  if ((await host.files.look(layer)) === undefined) await host.files.link(layer, '/');
  const said = await mkdtemp('/var/tmp/said-');
  const plan = runPlan({ name, command: ['/bin/bash', '-c', `{ ${script}\n} > /said/out 2>&1`], capAdd });
  const spec: ContainerSpec = {
    ...plan.spec,
    cgroups: 1,
    layers: ['thishost'],
    mounts: [
      ...plan.spec.mounts,
      ...mounts,
      { kind: 'bind', source: said, target: '/said', readOnly: false, propagation: 'rprivate' },
    ],
  };
  // A container on the host's network leaves no bridge.
  await apply(planRun({ ...plan, spec }).steps.filter(step => step.do !== 'leave-bridge'));
  const isDown = ({ ActiveState }: UnitProperties) => ActiveState === 'inactive' || ActiveState === 'failed';
  await (await systemd()).waitUntil(`${name}.service`, isDown, signal);
  return readFile(join(said, 'out'), 'utf8');
}

/** What the next process does about plans of killed ones. */
export const recover = (): Promise<string[]> => applier().recover(signal);
