import type { Container, Pod, PodSpec } from '../api/kubernetes.ts';
import type { ContainerObserved, Observed, Running, Terminated } from './observed.ts';

/** Pods of tests, and what is known of them: short words for the values that tables are made of. */

/** Noon of a day, in milliseconds: when the tests' pods begin. */
export const noon = Date.UTC(2026, 10, 5, 12);

export const seconds = (count: number): number => count * 1000;

export const container = (name: string, rest: Partial<Container> = {}): Container => ({
  name,
  image: `registry.test/${name}:1`,
  ...rest,
});

export const sidecar = (name: string, rest: Partial<Container> = {}): Container =>
  container(name, { restartPolicy: 'Always', ...rest });

/** With one main container, `main`, if the spec says nothing else. */
export const podWith = (spec: Partial<PodSpec> = {}, status?: Pod['status']): Pod => ({
  metadata: { name: 'web', namespace: 'shop', uid: 'u-1', generation: 3 },
  spec: { containers: [container('main')], ...spec },
  ...(status && { status }),
});

export const running = (rest: Partial<Running> = {}): Running => ({
  kind: 'running',
  attempt: 0,
  restartCount: 0,
  containerID: 'spawnlet://run',
  startedAt: noon,
  probes: {},
  ...rest,
});

export const ended = (exitCode: number, rest: Partial<Terminated> = {}): Terminated => ({
  kind: 'terminated',
  attempt: 0,
  restartCount: 0,
  containerID: 'spawnlet://run',
  exitCode,
  reason: exitCode === 0 ? 'Completed' : 'Error',
  startedAt: noon,
  finishedAt: noon + seconds(5),
  ...rest,
});

export const starting = (rest: Partial<Starting> = {}): Starting => ({
  kind: 'starting',
  attempt: 0,
  restartCount: 0,
  ...rest,
});

type State = ContainerObserved['state'];
type Starting = Extract<State, { kind: 'starting' }>;

/** A container in this state, or with more than that. */
export const known = (state: State, rest: Partial<ContainerObserved> = {}): ContainerObserved => ({
  state,
  ...rest,
});

/** A pod that has its network, with containers in these states. */
export const knownOf = (
  containers: Readonly<Record<string, ContainerObserved | State>> = {},
  rest: Partial<Observed> = {},
): Observed => ({
  attempt: 0,
  sandbox: { kind: 'ready', ips: ['10.88.0.5'] },
  hostIPs: ['192.0.2.10'],
  startTime: noon,
  qosClass: 'BestEffort',
  ...rest,
  containers: Object.fromEntries(
    Object.entries(containers).map(([name, value]) => [name, 'state' in value ? value : known(value)]),
  ),
});
