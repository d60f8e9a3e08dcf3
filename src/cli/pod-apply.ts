import { hostname } from 'node:os';
import { parseTime } from '../app/request.ts';
import { SpawnletError } from '../host/error.ts';
import { refuseTakenPortsOf } from '../kubelet/ports.ts';
import { readSettings } from '../kubelet/settings.ts';
import { applySteps, type Stored, storedAs, wantedAfter } from '../kubelet/store.ts';
import type { Pod } from '../pod/api/kubernetes.ts';
import { type KnownPod, knownPod } from '../pod/worker/known.ts';
import { defineCommand, dryRunOption } from './command.ts';
import type { Context } from './context.ts';
import { manifestOption, manifestsOf } from './kubelet.ts';
import { endText, readyCount, statusWord, trouble } from './pod-shown.ts';
import { filenameOption, sourcesOf } from './pod-sources.ts';
import { agentMissing, eachChange, sayAgentMissing, timeoutOption } from './pod-wait.ts';

const isReady = ({ status }: Pod) =>
  status?.phase === 'Succeeded' ||
  status?.conditions?.some(({ type, status: is }) => type === 'Ready' && is === 'True');

const isOver = ({ status }: Pod) => status?.phase === 'Failed';

/** Waits until pods are ready, and shows what they do meanwhile. @throws ERR_POD_FAILED, ERR_POD_TIMEOUT */
async function waitFor(uids: readonly string[], limit: number | undefined, context: Context): Promise<void> {
  const shown = new Map<string, string>();
  const lookAt = () => Promise.all(uids.map(uid => knownPod(context.host.files, uid)));
  const look = async () => {
    const known = await lookAt();
    for (const each of known) if (each) show(each, shown);
    const failed = known.find(each => each && isOver(each.pod));
    if (failed) {
      const { name } = failed.identity;
      throw new SpawnletError('ERR_POD_FAILED', `pod ${name} has failed${behind(endText(failed.pod))}`, {
        hint: `spawnlet pod describe ${name}`,
      });
    }
    return known.every(each => each && isReady(each.pod)) ? true : undefined;
  };
  const over = async () => {
    const late = (await lookAt()).find(each => each && !isReady(each.pod));
    const what = late ? `pod ${late.identity.name} is not ready` : 'the agent has not begun with the pods';
    return new SpawnletError('ERR_POD_TIMEOUT', `${what} in time${behind(late && trouble(late))}`, {
      hint: late ? `spawnlet pod describe ${late.identity.name}` : 'systemctl status spawnlet-kubelet',
    });
  };
  await eachChange(uids, look, { limit, over }, context);
}

const behind = (text: string | undefined) => (text ? `: ${text}` : '');

function show(known: KnownPod, shown: Map<string, string>): void {
  const { identity, pod } = known;
  const [ready, all] = readyCount(pod);
  const why = isReady(pod) ? undefined : trouble(known);
  const line = `${identity.namespace}/${identity.name}: ${statusWord(pod)}, ${ready} of ${all} ready${behind(why)}`;
  if (shown.get(identity.uid) === line) return;
  shown.set(identity.uid, line);
  process.stderr.write(`${line}\n`);
}

/** What becomes of each object, as kubectl says it. */
async function outcomes(stored: readonly Stored[], { host }: Context): Promise<string[]> {
  return Promise.all(
    stored.map(async ({ object, path }) => {
      const before = await host.files.read(path);
      const same = before === object.document.text ? 'unchanged' : 'configured';
      return `${object.kind.toLowerCase()}/${object.name} ${before === undefined ? 'created' : same}`;
    }),
  );
}

export const apply = defineCommand({
  name: 'pod apply',
  group: 'Pods',
  summary: 'Have manifests run',
  synopsis: '[FLAG…] -f FILE',
  arity: [0, 0],
  options: {
    ...filenameOption,
    wait: {
      type: 'boolean',
      help: 'until the pods are ready, which is the default; --wait=false',
      initially: true,
    },
    ...timeoutOption,
    ...manifestOption,
    ...dryRunOption,
  },
  examples: [
    ['spawnlet pod apply -f web.yaml', 'Pods, Deployments, ConfigMaps, Secrets, …'],
    [
      'spawnlet pod apply --timeout 2m -f web.yaml',
      'for scripts: an error that says why, if it takes longer',
    ],
    ['spawnlet pod apply --dry-run -f web.yaml', 'what is wrong with it, and what would be written'],
  ],
  async run({ options }, context) {
    const { host, signal } = context;
    if (options.filename.length === 0)
      throw new SpawnletError('ERR_USAGE', 'pod apply needs -f', { hint: 'spawnlet pod apply -f FILE' });
    const limit = options.timeout === undefined ? undefined : parseTime('timeout', options.timeout);
    const sources = await sourcesOf(options.filename, context);
    const directory = manifestsOf(options);
    const { defaultRuntime } = await readSettings(host.files);
    const stored = await storedAs(sources, directory, defaultRuntime);
    const desired = await wantedAfter(host.files, stored, directory, hostname(), defaultRuntime);
    const paths = new Set(stored.map(({ path }) => path));
    const pods = desired.pods.filter(({ file }) => paths.has(file)).map(({ pod }) => pod);
    const everyPod = desired.pods.map(({ pod }) => pod);
    await refuseTakenPortsOf(host, pods, everyPod, signal);
    const plan = {
      title: 'pod apply',
      ifInterrupted: 'finish',
      steps: applySteps(stored, directory),
    } as const;
    const applier = await context.applier();
    if (options['dry-run']) {
      process.stdout.write(await applier.dryRun(plan));
      return 0;
    }
    const missing = await agentMissing(context);
    if (missing && options.wait) throw missing;
    const lines = await outcomes(stored, context);
    await applier.apply(plan, signal);
    process.stdout.write(lines.map(line => `${line}\n`).join(''));
    if (missing) sayAgentMissing(missing);
    if (!options.wait) return 0;
    const uids = pods.flatMap(({ metadata }) => metadata?.uid ?? []);
    await waitFor(uids, limit, context);
    return 0;
  },
});
