import type { ContainerStatus, Pod } from '../pod/api/kubernetes.ts';
import { getPod, type KnownPod, knownPods } from '../pod/worker/known.ts';
import { defineCommand, documentOption, outputOption } from './command.ts';
import { duration, type List, print, printList } from './output.ts';
import { readyCount, restarts, statusWord } from './pod-shown.ts';

export const namespaceOption = {
  namespace: { type: 'string', short: 'n', value: 'NAME', help: 'default, if not given' },
} as const;

export const namespaceOf = ({ namespace }: { readonly namespace: string | undefined }): string =>
  namespace ?? 'default';

/** The pod with what kubectl reads of one that is going. */
export function documentOf({ pod, kept }: KnownPod): Pod {
  const { deletion } = kept.observed;
  if (!deletion) return pod;
  return {
    ...pod,
    metadata: {
      ...pod.metadata,
      deletionTimestamp: new Date(deletion.at + deletion.graceSeconds * 1000).toISOString(),
      deletionGracePeriodSeconds: deletion.graceSeconds,
    },
  };
}

const list = (now: number): List<Pod> => ({
  columns: [
    ['NAMESPACE', pod => pod.metadata?.namespace ?? ''],
    ['NAME', pod => pod.metadata?.name ?? ''],
    ['READY', pod => readyCount(pod).join('/')],
    ['STATUS', statusWord],
    ['RESTARTS', pod => String(restarts(pod))],
    ['AGE', pod => (pod.status?.startTime ? duration(now - Date.parse(pod.status.startTime)) : '')],
    ['IP', pod => pod.status?.podIP ?? ''],
  ],
  key: pod => `${pod.metadata?.namespace}/${pod.metadata?.name}`,
});

export const ls = defineCommand({
  name: 'pod ls',
  group: 'Pods',
  summary: 'List pods',
  synopsis: '[FLAG…]',
  arity: [0, 0],
  options: {
    ...namespaceOption,
    'all-namespaces': { type: 'boolean', short: 'A', help: 'of all namespaces, which is the default' },
    quiet: { type: 'boolean', short: 'q', help: 'names only' },
    ...outputOption,
  },
  examples: [['spawnlet pod ls', 'with what each is doing']],
  async run({ options }, context) {
    const { host } = context;
    const { agentMissing, sayAgentMissing } = await import('./pod-wait.ts');
    const missing = await agentMissing(context);
    if (missing) sayAgentMissing(missing);
    const pods = (await knownPods(host.files))
      .filter(({ identity }) => options.namespace === undefined || identity.namespace === options.namespace)
      .map(documentOf);
    await printList(pods, list(host.clock.now()), options);
    return 0;
  },
});

export const get = defineCommand({
  name: 'pod get',
  group: 'Pods',
  summary: 'Show a pod as the API has it, with its status',
  synopsis: '[FLAG…] NAME',
  arity: [1, 1],
  options: { ...namespaceOption, ...documentOption },
  examples: [['spawnlet pod get -o yaml web', 'spec and status']],
  async run({ options, arguments: [name = ''] }, { host }) {
    await print(documentOf(await getPod(host.files, namespaceOf(options), name)), options.output);
    return 0;
  },
});

/** Lines of `kubectl describe`: a state and the one before it. */
function stateLines({ state = {}, lastState = {} }: ContainerStatus): string[] {
  const lines = (title: string, { running, waiting, terminated }: typeof state) => {
    if (running) return [`    ${title}: Running since ${running.startedAt}`];
    if (waiting)
      return [
        `    ${title}: Waiting (${waiting.reason ?? ''})`,
        ...(waiting.message ? [`      ${waiting.message}`] : []),
      ];
    if (!terminated) return [];
    const { reason, exitCode, message, startedAt, finishedAt } = terminated;
    return [
      `    ${title}: Terminated (${reason}), exit code ${exitCode}, ${startedAt ?? '?'} to ${finishedAt ?? '?'}`,
      ...(message ? [`      ${message}`] : []),
    ];
  };
  return [...lines('State', state), ...lines('Last state', lastState)];
}

export const describe = defineCommand({
  name: 'pod describe',
  group: 'Pods',
  summary: 'Tell how a pod is doing, and its units',
  synopsis: '[FLAG…] NAME',
  arity: [1, 1],
  options: namespaceOption,
  examples: [['spawnlet pod describe web', 'states, exit codes, reasons, units, events']],
  async run({ options, arguments: [name = ''] }, { host }) {
    const { unitOf, targetOf, sliceOf } = await import('../pod/unit/names.ts');
    const { eventLines } = await import('./pod-events.ts');
    const known = await getPod(host.files, namespaceOf(options), name);
    const { identity, kept } = known;
    const pod = documentOf(known);
    const { status = {} } = pod;
    const each = (title: string, all: readonly ContainerStatus[] = []) =>
      all.length === 0
        ? []
        : [
            `${title}:`,
            ...all.flatMap(one => [
              `  ${one.name}: ${one.ready ? 'ready' : 'not ready'}, restarted ${one.restartCount} times`,
              `    Unit: ${unitOf(identity, one.name)}`,
              `    Image: ${one.image} ${one.imageID}`,
              ...stateLines(one),
            ]),
          ];
    const lines = [
      `Name: ${identity.name}`,
      `Namespace: ${identity.namespace}`,
      `UID: ${identity.uid}`,
      `Status: ${statusWord(pod)} (${status.phase ?? 'Pending'})`,
      ...(status.message ? [`Message: ${status.message}`] : []),
      `IP: ${(status.podIPs ?? []).map(({ ip }) => ip).join(' ')}`,
      `QoS class: ${status.qosClass ?? ''}`,
      `Target: ${targetOf(identity)}`,
      `Slice: ${sliceOf(identity, kept.observed.qosClass)}`,
      ...each('Init containers', status.initContainerStatuses),
      ...each('Containers', status.containerStatuses),
      'Conditions:',
      ...(status.conditions ?? []).map(
        ({ type, status: is, reason, message }) =>
          `  ${type}: ${is}${reason ? ` (${reason})` : ''}${message ? ` ${message}` : ''}`,
      ),
      ...eventLines(known, host.clock.now()),
    ];
    process.stdout.write(`${lines.join('\n')}\n`);
    return 0;
  },
});
