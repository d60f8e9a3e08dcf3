import type { ContainerState, ContainerStatus, Pod } from '../api/kubernetes.ts';
import { mayRestartAll, shouldRestart } from '../restart/policy.ts';
import type { ContainerObserved, Running, Terminated } from './observed.ts';
import { initMembers, type Member, members } from './roles.ts';
import {
  hasStarted,
  isInitialized,
  isReady,
  latestEnd,
  latestRun,
  mainHasBegun,
  observedOf,
} from './runs.ts';
import type { Scene } from './scene.ts';
import { unknownEnd } from './termination.ts';
import { rfc3339 } from './time.ts';
import { waitingOf } from './waiting.ts';

/** Bytes that the termination messages of a pod may have together. */
const messageBytes = 12 * 1024;

/** Cut to its share of the pod's bytes, and never within a character. */
function cut(message: string, pod: Pod): string {
  const bytes = Buffer.from(message);
  const most = Math.floor(messageBytes / Math.max(members(pod).length, 1));
  if (bytes.length <= most) return message;
  let end = most;
  while (end > 0 && ((bytes[end] ?? 0) & 0xc0) === 0x80) end--;
  return bytes.toString('utf8', 0, end);
}

const terminated = (end: Terminated, pod: Pod): ContainerState => ({
  terminated: {
    exitCode: end.exitCode,
    ...(end.signal !== undefined && { signal: end.signal }),
    reason: end.reason,
    ...(end.message && { message: cut(end.message, pod) }),
    ...(end.startedAt !== undefined && { startedAt: rfc3339(end.startedAt) }),
    finishedAt: rfc3339(end.finishedAt),
    containerID: end.containerID,
  },
});

/**
 * The API lets no container leave an end after which it is not restarted. One that has to run again all the same, an
 * init container in a new sandbox, keeps showing that it was done; gives the end that was told, if it is such a one.
 */
function settled({ pod, former }: Scene, { spec }: Member): ContainerState | undefined {
  const told = [...(former.initContainerStatuses ?? []), ...(former.containerStatuses ?? [])];
  const state = told.find(({ name }) => name === spec.name)?.state;
  if (!state?.terminated || mayRestartAll(pod)) return undefined;
  return shouldRestart(pod, spec, state.terminated.exitCode) === 'leave' ? state : undefined;
}

/** Of a pod that is over, what was never seen to run: it counts as failed once something could have run. */
function isLost(scene: Scene, member: Member): boolean {
  if (!scene.over || member.role === 'ephemeral') return false;
  const inits = initMembers(scene.pod);
  const evident = (each: Member) => latestRun(observedOf(scene.observed, each)) !== undefined;
  if (member.role !== 'main') {
    const index = inits.findIndex(each => each.spec.name === member.spec.name);
    return index <= Math.max(inits.findLastIndex(evident), 0);
  }
  const last = inits.at(-1);
  return last === undefined || mainHasBegun(scene.pod, scene.observed) || isInitialized(scene.observed, last);
}

function current(scene: Scene, member: Member): Pick<ContainerStatus, 'state' | 'lastState'> {
  const { pod } = scene;
  const { state, last } = observedOf(scene.observed, member);
  const lastState = last ? terminated(last, pod) : {};
  const waiting = waitingOf(scene, member);
  if (state.kind === 'terminated')
    return waiting
      ? { state: { waiting }, lastState: terminated(state, pod) }
      : { state: terminated(state, pod), lastState };
  if (!waiting && state.kind === 'running')
    return { state: { running: { startedAt: rfc3339(state.startedAt) } }, lastState };
  if (scene.ending && state.kind === 'waiting' && last)
    return { state: terminated(last, pod), lastState: {} };
  if (isLost(scene, member)) return { state: { terminated: unknownEnd }, lastState };
  return { state: waiting ? { waiting } : {}, lastState };
}

function shown(scene: Scene, member: Member): Pick<ContainerStatus, 'state' | 'lastState'> {
  const now = current(scene, member);
  const told = now.state?.terminated ? undefined : settled(scene, member);
  if (!told) return now;
  const end = latestEnd(observedOf(scene.observed, member));
  return { state: end ? terminated(end, scene.pod) : told, lastState: {} };
}

function readiness(member: Member, container: ContainerObserved): Pick<ContainerStatus, 'ready' | 'started'> {
  const { state } = container;
  const running: Running | undefined = state.kind === 'running' ? state : undefined;
  const started = running !== undefined && hasStarted(member, running);
  switch (member.role) {
    case 'ephemeral':
      return { ready: false };
    case 'init':
      return { ready: state.kind === 'terminated' && state.exitCode === 0, started };
    case 'main':
    case 'sidecar':
      return { ready: running !== undefined && isReady(member, running), started };
  }
}

/** Requests that are set aside, and what a running container really has. */
function resources(container: ContainerObserved): Pick<ContainerStatus, 'allocatedResources' | 'resources'> {
  const { state, allocated } = container;
  const actual = state.kind === 'running' ? (container.resources ?? allocated) : allocated;
  return {
    ...(allocated?.requests && { allocatedResources: allocated.requests }),
    ...(actual && { resources: actual }),
  };
}

/** The status of one container, in the kubelet's words. */
export function containerStatus(scene: Scene, member: Member): ContainerStatus {
  const container = observedOf(scene.observed, member);
  const { user, stopSignal, volumeMounts } = container;
  const run = container.state.kind === 'running' ? container.state : latestEnd(container);
  return {
    name: member.spec.name,
    ...shown(scene, member),
    ...readiness(member, container),
    restartCount: run?.restartCount ?? 0,
    image: container.image ?? member.spec.image ?? '',
    imageID: container.imageID ?? '',
    ...(run && { containerID: run.containerID }),
    ...resources(container),
    ...(user && { user }),
    ...(stopSignal !== undefined && { stopSignal }),
    ...(volumeMounts && { volumeMounts }),
  };
}
