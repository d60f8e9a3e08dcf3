import type { ContainerStatus, PodCondition } from '../api/kubernetes.ts';
import { mayRestartAll, restartsAll } from '../restart/policy.ts';
import { isTerminal, type Phase } from './phase.ts';
import { initMembers, mainMembers } from './roles.ts';
import { isAlive, isInitialized, latestRun, mainHasBegun } from './runs.ts';
import type { Scene } from './scene.ts';
import { rfc3339 } from './time.ts';

/** A condition without its times. */
type Finding = Pick<PodCondition, 'type' | 'status' | 'reason' | 'message'>;

const yes = (type: string, reason?: string): Finding => ({ type, status: 'True', ...(reason && { reason }) });
const no = (type: string, reason?: string, message?: string): Finding => ({
  type,
  status: 'False',
  ...(reason && { reason }),
  ...(message && { message }),
});

const formerly = (scene: Scene, type: string): PodCondition | undefined =>
  scene.former.conditions?.find(condition => condition.type === type);

function initialized(scene: Scene, phase: Phase): Finding {
  const { pod, observed } = scene;
  if (phase === 'Succeeded') return yes('Initialized', 'PodCompleted');
  // Once it is, it stays: a restart of everything makes no new pod.
  if (mainHasBegun(pod, observed) || formerly(scene, 'Initialized')?.status === 'True')
    return yes('Initialized');
  const incomplete = initMembers(pod)
    .filter(member => !isInitialized(observed, member))
    .map(member => member.spec.name);
  return incomplete.length === 0
    ? yes('Initialized')
    : no(
        'Initialized',
        'ContainersNotInitialized',
        `containers with incomplete status: [${incomplete.join(' ')}]`,
      );
}

function containersReady(scene: Scene, phase: Phase, statuses: readonly ContainerStatus[]): Finding {
  if (phase === 'Succeeded') return no('ContainersReady', 'PodCompleted');
  if (phase === 'Failed') return no('ContainersReady', 'PodFailed');
  const serving = [...initMembers(scene.pod), ...mainMembers(scene.pod)].filter(
    ({ role }) => role !== 'init',
  );
  const unready = serving
    .map(member => member.spec.name)
    .filter(name => !statuses.some(status => status.name === name && status.ready));
  return unready.length === 0
    ? yes('ContainersReady')
    : no('ContainersReady', 'ContainersNotReady', `containers with unready status: [${unready.join(' ')}]`);
}

/** All containers are ready, and so is what the pod's readiness gates ask others for. */
function ready(scene: Scene, containers: Finding): Finding {
  if (containers.status !== 'True') return { ...containers, type: 'Ready' };
  const missing = (scene.pod.spec?.readinessGates ?? []).flatMap(({ conditionType }) => {
    const gate = formerly(scene, conditionType);
    if (!gate) return [`corresponding condition of pod readiness gate "${conditionType}" does not exist.`];
    if (gate.status === 'True') return [];
    return [`the status of pod readiness gate "${conditionType}" is not "True", but ${gate.status}`];
  });
  return missing.length === 0 ? yes('Ready') : no('Ready', 'ReadinessGatesNotReady', missing.join(', '));
}

/** Only pods that have such a rule have this condition. */
function allRestarting({ pod, observed }: Scene, phase: Phase): Finding[] {
  const type = 'AllContainersRestarting';
  if (!mayRestartAll(pod)) return [];
  if (isTerminal(phase)) return [no(type, phase === 'Failed' ? 'PodFailed' : 'PodCompleted')];
  const begun =
    observed.restartedAll === observed.attempt &&
    Object.values(observed.containers).some(
      container => isAlive(container) && latestRun(container)?.attempt !== observed.attempt,
    );
  if (!begun && restartsAll(pod, observed) === undefined) return [no(type)];
  return [
    {
      type,
      status: 'True',
      reason: 'RestartAllContainersStarted',
      message: 'container exited with restart policy rule',
    },
  ];
}

/** Of the kubelet's own; all others of the former status belong to somebody else and stay. */
const owned = new Set([
  'PodReadyToStartContainers',
  'Initialized',
  'Ready',
  'ContainersReady',
  'PodScheduled',
  'AllContainersRestarting',
  'PodResizePending',
  'PodResizeInProgress',
]);

/** The time of the last change: of the status of the condition, not of its words. */
function timed(scene: Scene, finding: Finding): PodCondition {
  const former = formerly(scene, finding.type);
  const kept = former?.status === finding.status ? former.lastTransitionTime : undefined;
  const generation = scene.pod.metadata?.generation;
  return {
    ...(generation !== undefined && { observedGeneration: generation }),
    ...finding,
    lastTransitionTime: kept ?? rfc3339(scene.now),
  };
}

/** All conditions of a pod, in the kubelet's order. A disruption is told when the pod is over, not before. */
export function conditionsOf(
  scene: Scene,
  phase: Phase,
  statuses: readonly ContainerStatus[],
): PodCondition[] {
  const decided = (scene.observed.conditions ?? []).filter(
    ({ type }) => type !== 'DisruptionTarget' || scene.over,
  );
  const told = new Set<string>(decided.map(({ type }) => type));
  const foreign = (scene.former.conditions ?? []).filter(({ type }) => !owned.has(type) && !told.has(type));
  const containers = containersReady(scene, phase, statuses);
  const network = scene.observed.sandbox.kind === 'ready' ? yes : no;
  const findings: Finding[] = [
    ...decided,
    network('PodReadyToStartContainers'),
    initialized(scene, phase),
    ready(scene, containers),
    containers,
    yes('PodScheduled'),
    ...allRestarting(scene, phase),
  ];
  return [...foreign, ...findings.map(finding => timed(scene, finding))];
}
