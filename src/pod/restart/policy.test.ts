import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Container, ContainerRestartRule } from '../api/kubernetes.ts';
import { container, ended, knownOf, podWith, sidecar } from '../status/fake-pod.ts';
import type { StopCause } from '../status/observed.ts';
import type { Role } from '../status/roles.ts';
import { type AfterExit, isRestartable, restartsAll, runsAgain, shouldRestart } from './policy.ts';

const rule = (operator: string, values: number[], action = 'Restart'): ContainerRestartRule => ({
  action,
  exitCodes: { operator, values },
});
const own = (restartPolicy: string, ...restartPolicyRules: ContainerRestartRule[]): Partial<Container> => ({
  restartPolicy,
  restartPolicyRules,
});

const cases: [pod: string | undefined, own: Partial<Container>, exitCode: number, then: AfterExit][] = [
  [undefined, {}, 0, 'restart'],
  ['Always', {}, 0, 'restart'],
  ['Always', {}, 1, 'restart'],
  ['OnFailure', {}, 0, 'leave'],
  ['OnFailure', {}, 137, 'restart'],
  ['Never', {}, 0, 'leave'],
  ['Never', {}, 1, 'leave'],
  ['Never', own('Always'), 0, 'restart'],
  ['Never', own('OnFailure'), 0, 'leave'],
  ['Never', own('OnFailure'), 2, 'restart'],
  ['Always', own('Never'), 1, 'leave'],
  ['Always', own('OnFailure'), 0, 'leave'],
  ['Never', own('Never', rule('In', [42])), 42, 'restart'],
  ['Never', own('Never', rule('In', [42])), 43, 'leave'],
  ['Never', own('Never', rule('NotIn', [0, 1])), 1, 'leave'],
  ['Never', own('Never', rule('NotIn', [0, 1])), 2, 'restart'],
  ['Always', own('Never', rule('In', [3], 'RestartAllContainers')), 3, 'restartAll'],
  // The first rule that speaks of the code counts.
  ['Never', own('Never', rule('In', [3]), rule('In', [3], 'RestartAllContainers')), 3, 'restart'],
  // An operator that is not known speaks of nothing.
  ['Never', own('Never', rule('Above', [3])), 4, 'leave'],
  // Rules need a policy of the container's own.
  ['Never', { restartPolicyRules: [rule('In', [42])] }, 42, 'leave'],
];

test('rules come first, then the policy of the container, then that of the pod', () => {
  for (const [restartPolicy, rest, exitCode, then] of cases) {
    const pod = podWith(restartPolicy === undefined ? {} : { restartPolicy });
    const title = JSON.stringify([restartPolicy, rest, exitCode]);
    assert.equal(shouldRestart(pod, container('main', rest), exitCode), then, title);
  }
});

test('a container is restartable if any end of it leads to another run', () => {
  const never = podWith({ restartPolicy: 'Never' });
  assert.equal(isRestartable(never, container('main')), false);
  assert.equal(isRestartable(never, container('main', own('Never', rule('In', [42])))), true);
  assert.equal(isRestartable(never, container('main', own('OnFailure'))), true);
  assert.equal(isRestartable(podWith(), container('main', own('Never'))), false);
});

test('what was ended to have it anew is not judged by its exit code', () => {
  const table: [policy: string, cause: StopCause, exitCode: number, again: boolean][] = [
    ['OnFailure', 'liveness', 0, true],
    ['OnFailure', 'startup', 0, true],
    ['OnFailure', 'sandbox', 0, true],
    ['OnFailure', 'postStart', 0, false],
    ['OnFailure', 'postStart', 143, true],
    ['Never', 'liveness', 137, false],
    ['Never', 'image', 0, true],
    ['Never', 'resources', 143, true],
    ['Never', 'restartAll', 0, true],
    ['Always', 'podEnd', 0, true],
  ];
  for (const [restartPolicy, cause, exitCode, again] of table) {
    const pod = podWith({ restartPolicy });
    const end = ended(exitCode, { stopped: { cause, message: '' } });
    const member = { role: 'main', spec: container('main') } as const;
    assert.equal(runsAgain(pod, knownOf(), member, end), again, `${restartPolicy} ${cause} ${exitCode}`);
  }
});

test('init containers and sidecars run again in a new attempt, main ones by their policy', () => {
  const table: [role: Role, policy: string, attempt: number, exitCode: number, again: boolean][] = [
    ['init', 'Always', 0, 0, true],
    ['init', 'Always', 1, 0, false],
    ['init', 'Always', 1, 1, true],
    ['init', 'Never', 1, 1, false],
    ['init', 'OnFailure', 0, 0, true],
    ['sidecar', 'Never', 1, 0, true],
    ['main', 'OnFailure', 0, 0, false],
    ['main', 'OnFailure', 0, 1, true],
    ['main', 'Always', 0, 0, true],
    ['ephemeral', 'Always', 0, 1, false],
  ];
  for (const [role, restartPolicy, attempt, exitCode, again] of table) {
    const spec = role === 'sidecar' ? sidecar('x') : container('x');
    const observed = knownOf({}, { attempt: 1 });
    const is = runsAgain(podWith({ restartPolicy }), observed, { role, spec }, ended(exitCode, { attempt }));
    assert.equal(is, again, `${role} ${restartPolicy} ${attempt} ${exitCode}`);
  }
});

test('after a restart of all containers every one runs again, whatever its policy', () => {
  const pod = podWith({ restartPolicy: 'Never' });
  const member = { role: 'main', spec: container('main') } as const;
  const observed = knownOf({}, { attempt: 2, restartedAll: 1 });
  assert.equal(runsAgain(pod, observed, member, ended(0, { attempt: 0 })), true);
  // The attempt after it was a new sandbox: what ran after the restart is done.
  assert.equal(runsAgain(pod, observed, member, ended(0, { attempt: 1 })), false);
});

test('only an end of the present attempt asks for a restart of all', () => {
  const pod = podWith({
    containers: [container('main', own('Never', rule('In', [9], 'RestartAllContainers')))],
  });
  assert.equal(restartsAll(pod, knownOf({ main: ended(9) })), 'main');
  assert.equal(restartsAll(pod, knownOf({ main: ended(8) })), undefined);
  assert.equal(restartsAll(pod, knownOf({ main: ended(9) }, { attempt: 1 })), undefined);
});
