import type { Container, ResourceRequirements } from '../../api/kubernetes.ts';
import { members } from '../../status/roles.ts';
import { limitProperties, type Resources } from '../../unit/limits.ts';
import { sliceOf, unitOf } from '../../unit/names.ts';
import { containerResources } from '../run.ts';
import { podResources } from '../sandbox.ts';
import { given, outdated } from '../transition.ts';
import { messageText, type Work } from './work.ts';

/** What the units of a pod are given, where it is not what they have been given before. */

/** Units are written once; systemd keeps what is set until the boot. */
async function set({ deps }: Work, unit: string, resources: Resources, signal: AbortSignal): Promise<void> {
  const systemd = await deps.systemd();
  await systemd.setUnitProperties(unit, 'runtime', limitProperties(resources), signal);
}

/** Names of resources that a unit would have more or less of. */
function changes(container: Container, before: ResourceRequirements): string[] {
  const [old, now] = [containerResources({ ...container, resources: before }), containerResources(container)];
  return [
    ...(old.cpuRequest === now.cpuRequest && old.cpuLimit === now.cpuLimit ? [] : ['cpu']),
    ...(old.memoryLimit === now.memoryLimit ? [] : ['memory']),
  ];
}

const needsRestart = ({ resizePolicy = [] }: Container, names: readonly string[]): boolean =>
  resizePolicy.some(
    ({ resourceName, restartPolicy }) => restartPolicy === 'RestartContainer' && names.includes(resourceName),
  );

const isSame = (one: ResourceRequirements | undefined, other: ResourceRequirements | undefined) =>
  JSON.stringify(one ?? {}) === JSON.stringify(other ?? {});

/** Gives a container's unit what its next run is to have. Its first run finds it in the unit's file. */
export async function giveBeforeStart(work: Work, container: Container, signal: AbortSignal): Promise<void> {
  const { record, identity } = work;
  const { name, resources = {} } = container;
  const before = record.observed.containers[name]?.resources;
  if (before && changes(container, before).length > 0)
    await set(work, unitOf(identity, name), containerResources(container), signal);
  if (!before || !isSame(before, resources)) await record.container(name, given(resources));
}

/**
 * Gives what runs the resources that the pod asks for now. A container that says so of one of them gets them by running
 * anew, which others decide.
 */
export async function resize(work: Work, signal: AbortSignal): Promise<void> {
  const { deps, identity, qos, record } = work;
  const { pod, observed } = record;
  const running = members(pod).flatMap(({ spec }) => {
    const { state, resources } = observed.containers[spec.name] ?? {};
    const isUp = state?.kind === 'running' || state?.kind === 'starting';
    return isUp && resources && !isSame(resources, spec.resources) ? [{ spec, before: resources }] : [];
  });
  const isSlice = observed.sandbox.kind === 'ready' && !isSame(observed.resources, pod.spec?.resources);
  if (running.length === 0 && !isSlice) return;
  try {
    await set(work, sliceOf(identity, qos), podResources(pod, deps.node), signal);
    for (const { spec, before } of running) {
      const changed = changes(spec, before);
      if (needsRestart(spec, changed)) await record.container(spec.name, outdated('resources'));
      else {
        if (changed.length > 0)
          await set(work, unitOf(identity, spec.name), containerResources(spec), signal);
        await record.container(spec.name, given(spec.resources ?? {}));
      }
    }
    await record.observe(({ resources: _before, ...rest }) => ({
      ...rest,
      ...(pod.spec?.resources && { resources: pod.spec.resources }),
    }));
    record.event('Normal', 'ResizeCompleted', 'Pod resize completed');
  } catch (error) {
    signal.throwIfAborted();
    record.event('Warning', 'ResizeError', messageText(error));
  }
}
