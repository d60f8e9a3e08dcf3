/** Plans of volumes on this host, applied as the agent would, or by an agent that is killed between two steps. */
import { makeApplier, type Watchers } from '../../src/host/apply.ts';
import { realHost } from '../../src/host/host.ts';
import { FakeLocks } from '../../src/host/lock.ts';
import { hostExecutors } from '../../src/host/step.ts';
import { lockDirectory, stateDirectory } from '../../src/names.ts';
import { volumeExecutors } from '../../src/pod/volumes/executors.ts';
import { mountUnitsThere, planVolumeRemoval } from '../../src/pod/volumes/removal.ts';
import type { VolumeStep } from '../../src/pod/volumes/step.ts';
import { SystemdClient } from '../../src/systemd/client.ts';
import { systemdExecutors } from '../../src/systemd/executors.ts';
import { TestObjects } from '../harness/pod-volumes.ts';

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

/** What the next process does about plans of killed ones. */
export const recover = (): Promise<string[]> => applier().recover(signal);
