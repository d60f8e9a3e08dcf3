import type { Event, Pod, PodStatus } from '../api/kubernetes.ts';
import { isPullFailure } from '../restart/backoff.ts';
import type { ContainerObserved, Observed, StartFailure } from './observed.ts';
import { members } from './roles.ts';
import { startError } from './termination.ts';
import { rfc3339 } from './time.ts';

/** Something that has happened to a pod, in the words of the kubelet. */
export interface News {
  readonly type: 'Normal' | 'Warning';
  readonly reason: string;
  readonly message: string;
  /** Undefined for the pod as a whole. */
  readonly container?: string;
}

/** The same as it is kept: what happens again is counted. Times are milliseconds since 1970. */
export interface PodEvent extends News {
  readonly count: number;
  readonly first: number;
  readonly last: number;
}

/** So many different ones of a pod are kept, and so many characters of a message: what the API takes. */
const mostEvents = 50;
const longestMessage = 1024;

/** Adds news to the events of a pod, in the order of their last times; the oldest are dropped. */
export function withNews(events: readonly PodEvent[], news: readonly News[], now: number): PodEvent[] {
  let all = [...events];
  for (const each of news) {
    const message = each.message.slice(0, longestMessage);
    const isSame = ({ type, reason, container, message: said }: PodEvent) =>
      type === each.type && reason === each.reason && container === each.container && message === said;
    const { count, first } = all.find(isSame) ?? { count: 0, first: now };
    const counted = { ...each, message, count: count + 1, first, last: now };
    all = [...all.filter(event => !isSame(event)), counted];
  }
  return all.slice(-mostEvents);
}

const never: ContainerObserved = { state: { kind: 'waiting' } };

const normal = (reason: string, message: string, container?: string): News => ({
  type: 'Normal',
  reason,
  message,
  ...(container !== undefined && { container }),
});

const warning = (reason: string, message: string, container?: string): News => ({
  ...normal(reason, message, container),
  type: 'Warning',
});

/** What is told of a pod when this is known of it and that was before. */
export function eventsOf(pod: Pod, before: Observed, after: Observed): News[] {
  const names = members(pod).map(({ spec }) => spec.name);
  return [
    ...ofSandbox(before, after),
    ...names.flatMap(name =>
      ofContainer(pod, name, before.containers[name] ?? never, after.containers[name] ?? never),
    ),
    ...ofFailure(before, after),
  ];
}

function ofSandbox({ sandbox: before }: Observed, { sandbox: after, ...more }: Observed): News[] {
  if (after.kind === 'failed' && before.kind !== 'failed')
    return after.what === 'volume'
      ? [warning('FailedMount', `MountVolume.SetUp failed: ${after.message}`)]
      : [warning('FailedCreatePodSandBox', `Failed to create pod sandbox: ${after.message}`)];
  if (after.kind === 'none' && before.kind === 'ready' && !more.deletion)
    return [normal('SandboxChanged', 'Pod sandbox changed, it will be killed and re-created.')];
  return [];
}

function ofFailure({ failure: before }: Observed, { failure: after }: Observed): News[] {
  if (!after || before) return [];
  const { reason, message } = after;
  return [reason === 'DeadlineExceeded' ? normal(reason, message) : warning(reason, message)];
}

function ofContainer(pod: Pod, name: string, before: ContainerObserved, after: ContainerObserved): News[] {
  const [was, is] = [before.state, after.state];
  const news: News[] = [];
  if (is.kind === 'starting' && is.created && !(was.kind === 'starting' && was.created))
    news.push(normal('Created', 'Container created', name));
  if (was.kind === 'starting') {
    if (is.kind === 'running') news.push(normal('Started', 'Container started', name));
    // One that it was begun with was told then.
    if (is.kind === 'waiting' && is.failure && is.failure.at !== was.failure?.at)
      news.push(...ofStartFailure(pod, name, is.failure));
  }
  if (is.kind === 'terminated' && (was.kind === 'starting' || was.kind === 'running')) {
    if (is.reason === startError) news.push(warning('Failed', `Error: ${is.message ?? ''}`, name));
    // It ended before it was recorded that it runs.
    else if (was.kind === 'starting') news.push(normal('Started', 'Container started', name));
  }
  const [stopped, stops] = [was, is].map(state => ('stopping' in state ? state.stopping : undefined));
  if (stops && !stopped) news.push(normal('Killing', stops.message, name));
  return news;
}

function ofStartFailure(pod: Pod, name: string, { reason, message }: StartFailure): News[] {
  const failed = (text: string) => warning('Failed', text, name);
  const image = imageOf(pod, name);
  if (isPullFailure({ reason }))
    return [failed(`Failed to pull image ${image}: ${message}`), failed(`Error: ${reason}`)];
  if (reason === 'ErrImageNeverPull') return [warning(reason, message, name), failed(`Error: ${reason}`)];
  if (reason !== 'InvalidImageName') return [failed(`Error: ${message}`)];
  return [
    warning('InspectFailed', `Failed to apply default image tag ${image}: ${message}`, name),
    failed(`Error: ${reason}`),
  ];
}

const imageOf = (pod: Pod, name: string): string =>
  JSON.stringify(members(pod).find(({ spec }) => spec.name === name)?.spec.image ?? '');

/** What is told when the status has become another: back-offs, which follow from the time. */
export function statusEventsOf(pod: Pod, before: PodStatus | undefined, after: PodStatus): News[] {
  const waits = new Map(waitsOf(before));
  const { name: podName = '', namespace = '', uid = '' } = pod.metadata ?? {};
  return waitsOf(after).flatMap(([name, reason]) => {
    if (waits.get(name) === reason) return [];
    if (reason === 'CrashLoopBackOff') {
      const where = `${podName}_${namespace}(${uid})`;
      return [warning('BackOff', `Back-off restarting failed container ${name} in pod ${where}`, name)];
    }
    if (reason !== 'ImagePullBackOff') return [];
    return [
      normal('BackOff', `Back-off pulling image ${imageOf(pod, name)}`, name),
      warning('Failed', `Error: ${reason}`, name),
    ];
  });
}

const waitsOf = (status: PodStatus | undefined) =>
  [
    ...(status?.initContainerStatuses ?? []),
    ...(status?.containerStatuses ?? []),
    ...(status?.ephemeralContainerStatuses ?? []),
  ].map(({ name, state }) => [name, state?.waiting?.reason] as const);

const fields = {
  init: 'initContainers',
  sidecar: 'initContainers',
  main: 'containers',
  ephemeral: 'ephemeralContainers',
};

/** The part of a pod that an event is of, as the API names it: `spec.containers{web}`. */
export function fieldOf(pod: Pod, { container }: News): string | undefined {
  const member = members(pod).find(({ spec }) => spec.name === container);
  return member && `spec.${fields[member.role]}{${member.spec.name}}`;
}

/** An event as the API has it. */
export function eventObject(pod: Pod, event: PodEvent): Event {
  const { name = '', namespace = 'default', uid = '' } = pod.metadata ?? {};
  const node = pod.spec?.nodeName ?? '';
  const fieldPath = fieldOf(pod, event);
  const { type, reason, message, count, first, last, container = '' } = event;
  return {
    apiVersion: 'v1',
    kind: 'Event',
    metadata: {
      name: [name, container, reason.toLowerCase(), first.toString(16)].filter(Boolean).join('.'),
      namespace,
    },
    involvedObject: {
      apiVersion: 'v1',
      kind: 'Pod',
      namespace,
      name,
      uid,
      ...(fieldPath !== undefined && { fieldPath }),
    },
    type,
    reason,
    message,
    count,
    firstTimestamp: rfc3339(first),
    lastTimestamp: rfc3339(last),
    source: { component: 'kubelet', host: node },
    reportingComponent: 'kubelet',
    reportingInstance: node,
  };
}
