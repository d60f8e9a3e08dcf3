import { parseTime } from '../app/request.ts';
import { SpawnletError } from '../host/error.ts';
import { type ObjectName, objectsIn, parseTarget, removeSteps } from '../kubelet/store.ts';
import type { Pod } from '../pod/api/kubernetes.ts';
import { directoryOf } from '../pod/unit/names.ts';
import { type KnownPod, knownPods } from '../pod/worker/known.ts';
import { defineCommand, dryRunOption } from './command.ts';
import type { Context } from './context.ts';
import { manifestOption, manifestsOf } from './kubelet.ts';
import { namespaceOf, namespaceOption } from './pod.ts';
import { filenameOption, sourcesOf } from './pod-sources.ts';
import { agentMissing, eachChange, sayAgentMissing, timeoutOption } from './pod-wait.ts';

/** A pod of its own, or one of a controller. */
const isMadeBy = ({ metadata }: Pod, { kind, name, namespace }: ObjectName) =>
  (metadata?.namespace ?? 'default') === namespace &&
  (kind === 'Pod'
    ? metadata?.name === name && !metadata.ownerReferences
    : (metadata?.ownerReferences ?? []).some(owner => owner.kind === kind && owner.name === name));

const called = ({ kind, name }: ObjectName) => `${kind.toLowerCase()}/${name}`;

/** Waits until pods are gone. @throws ERR_POD_TIMEOUT */
async function waitForEnd(
  pods: readonly KnownPod[],
  limit: number | undefined,
  context: Context,
): Promise<void> {
  const { files } = context.host;
  const lookAt = async () => {
    const there = await Promise.all(pods.map(({ identity }) => files.look(directoryOf(identity.uid))));
    return pods.filter((_pod, at) => there[at] !== undefined);
  };
  const left = await lookAt();
  if (left.length === 0) return;
  const names = left.map(({ identity }) => identity.name).join(', ');
  const grace = Math.max(...left.map(({ pod }) => pod.spec?.terminationGracePeriodSeconds ?? 30));
  process.stderr.write(`waiting for ${names} to end: up to ${grace} s\n`);
  const look = async () => ((await lookAt()).length === 0 ? true : undefined);
  const over = async () => {
    const still = (await lookAt()).map(({ identity }) => identity.name).join(', ');
    return new SpawnletError('ERR_POD_TIMEOUT', `not gone in time: ${still}`, { hint: 'spawnlet pod ls' });
  };
  const uids = pods.map(({ identity }) => identity.uid);
  await eachChange(uids, look, { limit, over }, context);
}

export const rm = defineCommand({
  name: 'pod rm',
  group: 'Pods',
  summary: 'Have an object run no more',
  synopsis: '[FLAG…] [KIND/]NAME…',
  arity: [0, Number.POSITIVE_INFINITY],
  options: {
    ...namespaceOption,
    ...filenameOption,
    wait: {
      type: 'boolean',
      help: 'until its pods are gone, which is the default; --wait=false',
      initially: true,
    },
    ...timeoutOption,
    ...manifestOption,
    ...dryRunOption,
  },
  examples: [
    ['spawnlet pod rm web', 'a pod'],
    ['spawnlet pod rm deployment/web configmap/web', 'objects of other kinds'],
    ['spawnlet pod rm -f web.yaml', 'all objects of a file'],
  ],
  async run({ options, arguments: words }, context) {
    const { host, signal } = context;
    const directory = manifestsOf(options);
    const namespace = namespaceOf(options);
    const named = words.map(word => ({ ...parseTarget(word), namespace }));
    const targets = [...named, ...(await objectsIn(await sourcesOf(options.filename, context)))];
    if (targets.length === 0)
      throw new SpawnletError('ERR_USAGE', 'pod rm needs a name, or -f', {
        hint: 'spawnlet pod rm NAME, or spawnlet pod rm -f FILE',
      });
    const limit = options.timeout === undefined ? undefined : parseTime('timeout', options.timeout);
    const applier = await context.applier();
    // All of them are looked for before the first one goes.
    const removals = await Promise.all(
      targets.map(async target => ({ target, steps: await removeSteps(host.files, target, directory) })),
    );
    const plan = {
      title: `pod rm ${targets.map(called).join(' ')}`,
      ifInterrupted: 'finish',
      steps: removals.flatMap(({ steps }) => steps),
    } as const;
    if (options['dry-run']) {
      process.stdout.write(await applier.dryRun(plan));
      return 0;
    }
    const pods = (await knownPods(host.files)).filter(({ pod }) =>
      targets.some(target => isMadeBy(pod, target)),
    );
    const missing = pods.length > 0 ? await agentMissing(context) : undefined;
    if (missing && options.wait) throw missing;
    await applier.apply(plan, signal);
    if (missing) sayAgentMissing(missing);
    if (options.wait) await waitForEnd(pods, limit, context);
    process.stdout.write(targets.map(target => `${called(target)} deleted\n`).join(''));
    return 0;
  },
});
