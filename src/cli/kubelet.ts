import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { parseProfile, profilePath } from '../engine/seccomp.ts';
import { messageOf, SpawnletError } from '../host/error.ts';
import { Agent, identityOf } from '../kubelet/agent.ts';
import { readManifests, watchManifests } from '../kubelet/manifests.ts';
import { podNetworks } from '../kubelet/network.ts';
import { standaloneNode } from '../kubelet/node.ts';
import { installSteps, uninstallSteps } from '../kubelet/unit.ts';
import { Manifests, nothingWanted, objectsOf } from '../kubelet/wanted.ts';
import { confDirectory } from '../network/cni/directory.ts';
import { kubeletLimits } from '../pod/restart/backoff.ts';
import type { Objects, WorkerDependencies } from '../pod/worker/dependencies.ts';
import { defineCommand, dryRunOption } from './command.ts';
import type { Context } from './context.ts';

const defaultManifests = '/etc/spawnlet/manifests';

/** Where the agent reads manifests, for all commands that have to do with it. */
export const manifestOption = {
  'pod-manifest-path': { type: 'string', value: 'DIR', help: `manifests to run (${defaultManifests})` },
} as const;

/** What the agent itself takes. */
const agentOptions = {
  ...manifestOption,
  'cni-conf-dir': {
    type: 'string',
    value: 'DIR',
    help: `network of pods, its first file (${confDirectory})`,
  },
} as const;

export const manifestsOf = (options: { readonly 'pod-manifest-path': string | undefined }): string =>
  resolve(options['pod-manifest-path'] ?? defaultManifests);

const say = (line: string) => void process.stderr.write(`${line}\n`);

/** @param directory of the network of pods */
async function dependencies(
  context: Context,
  objects: Objects,
  directory: string,
): Promise<WorkerDependencies> {
  const applier = await context.applier();
  return {
    ...(await context.images()),
    host: context.host,
    node: standaloneNode(),
    network: podNetworks(
      { files: context.host.files, directory, perform: applier.perform.bind(applier), said: say },
      context.signal,
    ),
    objects,
    limits: kubeletLimits(),
    systemd: () => context.systemd(),
    perform: (steps, signal) => applier.perform(steps, signal),
    profile: async () => parseProfile(await readFile(profilePath, 'utf8'), profilePath),
    changed: () => undefined,
    event: ({ metadata = {} }, { type, reason, message, field }) =>
      say(`${type} ${metadata.namespace}/${metadata.name} ${field ?? ''} ${reason}: ${message}`),
  };
}

/** What the agent mounts has to be where systemd sees it. @throws ERR_MOUNT_NAMESPACE */
async function refuseOwnMounts({ files }: Context['host']): Promise<void> {
  const [own, first] = await Promise.all(['self', '1'].map(pid => files.look(`/proc/${pid}/ns/mnt`)));
  if (own?.kind === 'link' && first?.kind === 'link' && own.target === first.target) return;
  throw new SpawnletError('ERR_MOUNT_NAMESPACE', 'the agent has a mount namespace of its own', {
    hint: 'spawnlet kubelet install, or: nsenter --mount=/proc/1/ns/mnt spawnlet kubelet',
  });
}

export const kubelet = defineCommand({
  name: 'kubelet',
  group: 'Pods',
  summary: 'Run the pods of this host',
  synopsis: '[FLAG…]',
  arity: [0, 0],
  options: agentOptions,
  examples: [['spawnlet kubelet --pod-manifest-path /etc/spawnlet/manifests', 'in the foreground']],
  async run({ options }, context) {
    const { signal, host } = context;
    await refuseOwnMounts(host);
    const directory = manifestsOf(options);
    let objects: Objects = objectsOf(nothingWanted);
    context.volumeObjects = {
      configMap: async (namespace, name) => objects.configMap(namespace, name),
      secret: async (namespace, name) => objects.secret(namespace, name),
      token: () => Promise.reject(new Error('nobody issues tokens here, and the pod was not refused')),
    };
    const deps = await dependencies(
      context,
      {
        configMap: (namespace, name) => objects.configMap(namespace, name),
        secret: (namespace, name) => objects.secret(namespace, name),
        claims: namespace => objects.claims(namespace),
      },
      resolve(options['cni-conf-dir'] ?? confDirectory),
    );
    const manifests = new Manifests(deps.node.name);
    const agent = new Agent(deps, signal, error => say(messageOf(error)));
    await agent.takeUp();
    const read = async () => {
      const { desired, mistakes } = await manifests.read(await readManifests(host.files, directory));
      for (const mistake of mistakes) say(messageOf(mistake));
      objects = objectsOf(desired);
      await agent.sync(desired.pods.map(({ pod }) => ({ pod, identity: identityOf(pod) })));
    };
    await watchManifests(host.files, directory, read, signal);
    await agent.ended();
    return 0;
  },
});

/** The agent's words with those flags that were given, their paths whole. */
const forUnit = (
  { words }: Context,
  options: { readonly [name in keyof typeof agentOptions]: string | undefined },
) => [
  ...words,
  'kubelet',
  ...(Object.keys(agentOptions) as (keyof typeof agentOptions)[]).flatMap(name =>
    options[name] === undefined ? [] : [`--${name}`, resolve(options[name])],
  ),
];

export const install = defineCommand({
  name: 'kubelet install',
  group: 'Pods',
  summary: 'Run the agent as a unit, now and at boot',
  synopsis: '[FLAG…]',
  arity: [0, 0],
  options: { ...agentOptions, ...dryRunOption },
  examples: [['spawnlet kubelet install', 'systemctl status spawnlet-kubelet shows it']],
  async run({ options }, context) {
    const applier = await context.applier();
    const steps = installSteps(forUnit(context, options));
    const plan = { title: 'kubelet install', ifInterrupted: 'undo', steps } as const;
    if (options['dry-run']) process.stdout.write(await applier.dryRun(plan));
    else await applier.apply(plan, context.signal);
    return 0;
  },
});

export const uninstall = defineCommand({
  name: 'kubelet uninstall',
  group: 'Pods',
  summary: 'Take the unit of the agent away; pods go on',
  synopsis: '[FLAG…]',
  arity: [0, 0],
  options: dryRunOption,
  examples: [['spawnlet kubelet uninstall', 'to be rid of pods, too: spawnlet pod rm first']],
  async run({ options }, context) {
    const applier = await context.applier();
    const plan = { title: 'kubelet uninstall', ifInterrupted: 'finish', steps: uninstallSteps } as const;
    if (options['dry-run']) process.stdout.write(await applier.dryRun(plan));
    else await applier.apply(plan, context.signal);
    return 0;
  },
});
