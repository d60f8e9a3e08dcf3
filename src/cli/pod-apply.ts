import { readFile, stat } from 'node:fs/promises';
import { hostname } from 'node:os';
import { SpawnletError } from '../host/error.ts';
import { type DirectoryWatch, watchDirectory } from '../host/watch.ts';
import { readManifests } from '../kubelet/manifests.ts';
import { readSettings } from '../kubelet/settings.ts';
import { applySteps, parseTarget, removeSteps, storedAs, wantedAfter } from '../kubelet/store.ts';
import { podsDirectory } from '../names.ts';
import type { Pod } from '../pod/api/kubernetes.ts';
import { directoryOf } from '../pod/unit/names.ts';
import { type KnownPod, knownPod, knownPods } from '../pod/worker/known.ts';
import { defineCommand, dryRunOption } from './command.ts';
import type { Context } from './context.ts';
import { manifestOption, manifestsOf } from './kubelet.ts';
import { namespaceOf, namespaceOption } from './pod.ts';
import { readyCount, statusWord } from './pod-shown.ts';

/** A file, all manifests of a directory, or standard input. @throws ERR_FLAG_VALUE */
async function sourcesOf(name: string, { host }: Context) {
  if (name === '-') return [{ path: '-', text: await text(process.stdin) }];
  try {
    if ((await stat(name)).isDirectory()) return await readManifests(host.files, name);
    return [{ path: name, text: await readFile(name, 'utf8') }];
  } catch (cause) {
    throw new SpawnletError('ERR_FLAG_VALUE', `-f ${name} cannot be read`, {
      cause,
      hint: 'a file, a directory, or - for standard input',
    });
  }
}

async function text(stream: AsyncIterable<Buffer>): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}

const isReady = ({ status }: Pod) =>
  status?.phase === 'Succeeded' ||
  status?.conditions?.some(({ type, status: is }) => type === 'Ready' && is === 'True');

const isOver = ({ status }: Pod) => status?.phase === 'Failed';

/** Calls `look` whenever something of a pod was recorded, until it gives something. */
async function eachChange<T>(
  uids: readonly string[],
  look: () => Promise<T | undefined>,
  signal: AbortSignal,
  { host }: Context,
): Promise<T> {
  let news = Promise.withResolvers<void>();
  const watchers = new Map<string, DirectoryWatch>();
  const aborted = new Promise<never>((_resolve, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason), { once: true });
  });
  aborted.catch(() => undefined);
  await host.files.makeDirectory(podsDirectory, 0o700);
  watchers.set(
    '',
    watchDirectory(podsDirectory, () => news.resolve()),
  );
  try {
    for (;;) {
      for (const uid of uids)
        if (!watchers.has(uid) && (await host.files.look(directoryOf(uid))))
          watchers.set(
            uid,
            watchDirectory(directoryOf(uid), () => news.resolve()),
          );
      const found = await look();
      if (found !== undefined) return found;
      await Promise.race([news.promise, aborted]);
      news = Promise.withResolvers();
    }
  } finally {
    for (const watcher of watchers.values()) watcher.close();
  }
}

/** Waits until pods are ready, and shows what they do meanwhile. @throws ERR_POD_FAILED */
async function waitFor(uids: readonly string[], context: Context): Promise<void> {
  const shown = new Map<string, string>();
  const look = async () => {
    const known = await Promise.all(uids.map(uid => knownPod(context.host.files, uid)));
    for (const each of known) if (each) show(each, shown);
    const failed = known.find(each => each && isOver(each.pod));
    if (failed)
      throw new SpawnletError('ERR_POD_FAILED', `pod ${failed.identity.name} has failed`, {
        hint: `spawnlet pod describe ${failed.identity.name}`,
      });
    return known.every(each => each && isReady(each.pod)) ? true : undefined;
  };
  await eachChange(uids, look, context.signal, context);
}

function show({ identity, pod }: KnownPod, shown: Map<string, string>): void {
  const [ready, all] = readyCount(pod);
  const line = `${identity.namespace}/${identity.name}: ${statusWord(pod)}, ${ready} of ${all} ready`;
  if (shown.get(identity.uid) === line) return;
  shown.set(identity.uid, line);
  process.stderr.write(`${line}\n`);
}

export const apply = defineCommand({
  name: 'pod apply',
  group: 'Pods',
  summary: 'Have manifests run',
  synopsis: '[FLAG…] -f FILE',
  arity: [0, 0],
  options: {
    filename: {
      type: 'strings',
      short: 'f',
      value: 'FILE',
      help: 'a file, a directory, or - for standard input',
    },
    wait: {
      type: 'boolean',
      help: 'until the pods are ready, which is the default; --wait=false',
      initially: true,
    },
    ...manifestOption,
    ...dryRunOption,
  },
  examples: [
    ['spawnlet pod apply -f web.yaml', 'Pods, Deployments, ConfigMaps, Secrets, …'],
    ['spawnlet pod apply --dry-run -f web.yaml', 'what is wrong with it, and what would be written'],
  ],
  async run({ options }, context) {
    const { host, signal } = context;
    if (options.filename.length === 0)
      throw new SpawnletError('ERR_USAGE', 'pod apply needs -f', { hint: 'spawnlet pod apply -f FILE' });
    const sources = (await Promise.all(options.filename.map(name => sourcesOf(name, context)))).flat();
    const directory = manifestsOf(options);
    const { defaultRuntime } = await readSettings(host.files);
    const stored = await storedAs(sources, directory, defaultRuntime);
    const desired = await wantedAfter(host.files, stored, directory, hostname(), defaultRuntime);
    const paths = new Set(stored.map(({ path }) => path));
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
    await applier.apply(plan, signal);
    if (!options.wait) return 0;
    const pods = desired.pods.filter(({ file }) => paths.has(file));
    await waitFor(
      pods.flatMap(({ pod }) => pod.metadata?.uid ?? []),
      context,
    );
    return 0;
  },
});

export const rm = defineCommand({
  name: 'pod rm',
  group: 'Pods',
  summary: 'Have an object run no more',
  synopsis: '[FLAG…] [KIND/]NAME…',
  arity: [1, Number.POSITIVE_INFINITY],
  options: {
    ...namespaceOption,
    wait: {
      type: 'boolean',
      help: 'until its pods are gone, which is the default; --wait=false',
      initially: true,
    },
    ...manifestOption,
    ...dryRunOption,
  },
  examples: [
    ['spawnlet pod rm web', 'a pod'],
    ['spawnlet pod rm deployment/web configmap/web', 'objects of other kinds'],
  ],
  async run({ options, arguments: targets }, context) {
    const { host, signal } = context;
    const directory = manifestsOf(options);
    const namespace = namespaceOf(options);
    const applier = await context.applier();
    for (const target of targets.map(parseTarget)) {
      const steps = await removeSteps(host.files, { ...target, namespace }, directory);
      const plan = { title: `pod rm ${target.name}`, ifInterrupted: 'finish', steps } as const;
      if (options['dry-run']) {
        process.stdout.write(await applier.dryRun(plan));
        continue;
      }
      const uids = (await knownPods(host.files))
        .filter(({ pod, identity }) => identity.namespace === namespace && isMadeBy(pod, target))
        .map(({ identity }) => identity.uid);
      await applier.apply(plan, signal);
      if (!options.wait) continue;
      const isGone = async () => {
        const left = await Promise.all(uids.map(uid => host.files.look(directoryOf(uid))));
        return left.every(each => each === undefined) ? true : undefined;
      };
      await eachChange(uids, isGone, signal, context);
    }
    return 0;
  },
});

/** A pod of its own, or one of a controller. */
const isMadeBy = ({ metadata }: Pod, { kind, name }: ReturnType<typeof parseTarget>) =>
  kind === 'Pod'
    ? metadata?.name === name && !metadata.ownerReferences
    : (metadata?.ownerReferences ?? []).some(owner => owner.kind === kind && owner.name === name);
