import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { parseCount } from '../app/request.ts';
import { parseProfile, profilePath } from '../engine/seccomp.ts';
import { messageOf, SpawnletError } from '../host/error.ts';
import { programOf } from '../image/package/packages.ts';
import { Agent, identityOf } from '../kubelet/agent.ts';
import { type Configuration, isPodRange, readConfiguration } from '../kubelet/configuration.ts';
import { readManifests, watchManifests } from '../kubelet/manifests.ts';
import { bridgeNetwork, networkIn } from '../kubelet/network.ts';
import { type NodeSettings, networkSetUp, standaloneNode, withNames } from '../kubelet/node.ts';
import { parseDefaultRuntime, writeSettings } from '../kubelet/settings.ts';
import { agentLock, agentUnit, agentUnitPath, installSteps, uninstallSteps } from '../kubelet/unit.ts';
import { Manifests, nothingWanted, objectsOf } from '../kubelet/wanted.ts';
import { defaultRange } from '../network/cni/default.ts';
import { kubeletLimits } from '../pod/restart/backoff.ts';
import type { Objects, WorkerDependencies } from '../pod/worker/dependencies.ts';
import { knownPods } from '../pod/worker/known.ts';
import { defineCommand, dryRunOption } from './command.ts';
import type { Context } from './context.ts';

const defaultManifests = '/etc/spawnlet/manifests';

/** Where the agent reads manifests, for all commands that have to do with it. */
export const manifestOption = {
  'pod-manifest-path': { type: 'string', value: 'DIR', help: `manifests to run (${defaultManifests})` },
} as const;

export const manifestsOf = (options: { readonly 'pod-manifest-path': string | undefined }): string =>
  resolve(options['pod-manifest-path'] ?? defaultManifests);

const agentOptions = {
  config: { type: 'string', value: 'FILE', help: 'a KubeletConfiguration; flags go before what it says' },
  ...manifestOption,
  'cni-conf-dir': {
    type: 'string',
    value: 'DIR',
    help: 'network of pods: its first file, as in /etc/cni/net.d',
  },
  'pod-cidr': { type: 'string', value: 'CIDR', help: `IPv4 addresses of pods (${defaultRange.v4})` },
  'pod-max-pids': {
    type: 'string',
    value: 'NUMBER',
    help: 'processes that each pod may have; -1: as many as the host',
  },
  'default-runtime': {
    type: 'string',
    value: 'ENGINE',
    help: 'who runs pods without a runtimeClassName: crun (the default), nspawn, or host, see docs/host-engine.md',
  },
  'allow-unverified-packages': {
    type: 'boolean',
    help: 'let pods of the engine host install packages by URLs without a checksum',
  },
} as const;

interface AgentOptions {
  readonly config: string | undefined;
  readonly 'pod-manifest-path': string | undefined;
  readonly 'cni-conf-dir': string | undefined;
  readonly 'pod-cidr': string | undefined;
  readonly 'pod-max-pids': string | undefined;
  readonly 'default-runtime': string | undefined;
  readonly 'allow-unverified-packages': boolean;
}

const pidsOf = ({ 'pod-max-pids': text }: AgentOptions): number | undefined =>
  text === undefined || text === '-1' ? undefined : parseCount('pod-max-pids', text, 1);

/** What flags say, then the configuration. @throws ERR_FLAG_VALUE for what is no network with room for a pod */
function settingsOf(options: AgentOptions, configuration: Configuration): NodeSettings {
  const text = options['pod-cidr'];
  const range = text === undefined ? configuration.podRange : { v4: text };
  if (options['cni-conf-dir'] !== undefined && text !== undefined)
    throw new SpawnletError('ERR_FLAG_CONFLICT', '--cni-conf-dir and --pod-cidr do not go together', {
      hint: 'the plugins of the network give addresses: see its "ipam"',
    });
  const podPidsLimit = options['pod-max-pids'] === undefined ? configuration.podPidsLimit : pidsOf(options);
  if (text !== undefined && !isPodRange(text))
    throw new SpawnletError('ERR_FLAG_VALUE', `--pod-cidr does not take '${text}'`, {
      hint: 'an IPv4 network with room for a bridge and a pod, as in 10.88.0.0/16',
    });
  return {
    ...(podPidsLimit !== undefined && { podPidsLimit }),
    ...(range && { range }),
    clusterDNS: configuration.clusterDNS,
    clusterDomain: configuration.clusterDomain,
    ...(configuration.resolvConf !== undefined && { resolvConf: configuration.resolvConf }),
  };
}

const say = (line: string) => void process.stderr.write(`${line}\n`);

async function dependencies(
  context: Context,
  options: AgentOptions,
  configuration: Configuration,
  objects: Objects,
): Promise<WorkerDependencies> {
  const applier = await context.applier();
  const settings = settingsOf(options, configuration);
  const directory = options['cni-conf-dir'];
  const bridge = bridgeNetwork(settings);
  const packages = { host: context.host, systemd: () => context.systemd(), env: context.env };
  const unverified = options['allow-unverified-packages'];
  return {
    ...(await context.images()),
    host: context.host,
    node: standaloneNode(settings),
    network:
      directory === undefined
        ? () => Promise.resolve(bridge)
        : networkIn(context.host.files, resolve(directory), say),
    objects,
    limits: kubeletLimits(configuration.maxContainerRestartPeriod),
    systemd: () => context.systemd(),
    perform: (steps, signal) => applier.perform(steps, signal),
    program: (image, never, begun, signal) =>
      programOf(packages, image, { never, unverified, begun }, signal),
    profile: async () => parseProfile(await readFile(profilePath, 'utf8'), profilePath),
    changed: () => undefined,
    event: ({ metadata = {} }, { type, reason, message, container = '' }) =>
      say(`${type} ${metadata.namespace}/${metadata.name} ${container} ${reason}: ${message}`),
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

/** The node with spawnlet's own bridge for its pods, and with names on it. */
async function withBridge(
  deps: WorkerDependencies,
  settings: NodeSettings,
  signal: AbortSignal,
): Promise<WorkerDependencies['node']> {
  await deps.perform(networkSetUp(settings), signal);
  return withNames(deps, settings, error => say(messageOf(error)), signal);
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
    const configuration = await readConfiguration(host.files, options.config);
    const directory = resolve(
      options['pod-manifest-path'] ?? configuration.staticPodPath ?? defaultManifests,
    );
    const defaultRuntime = parseDefaultRuntime(options['default-runtime']);
    await using _agent = await host.locks.take(agentLock);
    await writeSettings(host.files, { defaultRuntime });
    let objects: Objects = objectsOf(nothingWanted);
    context.volumeObjects = {
      configMap: async (namespace, name) => objects.configMap(namespace, name),
      secret: async (namespace, name) => objects.secret(namespace, name),
      token: () => Promise.reject(new Error('nobody issues tokens here, and the pod was not refused')),
    };
    const deps = await dependencies(context, options, configuration, {
      configMap: (namespace, name) => objects.configMap(namespace, name),
      secret: (namespace, name) => objects.secret(namespace, name),
      claims: namespace => objects.claims(namespace),
    });
    const manifests = new Manifests(deps.node.name, defaultRuntime);
    const node =
      options['cni-conf-dir'] === undefined
        ? await withBridge(deps, settingsOf(options, configuration), signal)
        : deps.node;
    const agent = new Agent({ ...deps, node }, signal, error => say(messageOf(error)));
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

/** The agent's words with those flags that were given, their paths whole. @throws ERR_CONFIGURATION, ERR_FLAG_VALUE */
async function forUnit({ words, host }: Context, options: AgentOptions): Promise<string[]> {
  settingsOf(options, await readConfiguration(host.files, options.config));
  parseDefaultRuntime(options['default-runtime']);
  const paths = ['config', 'pod-manifest-path', 'cni-conf-dir'] as const;
  const plain = ['pod-cidr', 'pod-max-pids', 'default-runtime'] as const;
  return [
    ...words,
    'kubelet',
    ...paths.flatMap(name => (options[name] === undefined ? [] : [`--${name}=${resolve(options[name])}`])),
    ...plain.flatMap(name => (options[name] === undefined ? [] : [`--${name}=${options[name]}`])),
    ...(options['allow-unverified-packages'] ? ['--allow-unverified-packages'] : []),
  ];
}

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
    const there = await context.host.files.read(agentUnitPath);
    const steps = installSteps(await forUnit(context, options), there);
    const plan = { title: 'kubelet install', ifInterrupted: 'undo', steps } as const;
    if (options['dry-run']) {
      process.stdout.write(await applier.dryRun(plan));
      return 0;
    }
    await applier.apply(plan, context.signal);
    process.stdout.write(`${agentUnit} runs, now and at boot\n`);
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
    if (options['dry-run']) {
      process.stdout.write(await applier.dryRun(plan));
      return 0;
    }
    await applier.apply(plan, context.signal);
    const { length } = await knownPods(context.host.files);
    const left = length === 0 ? '' : `; ${length} of its pods stay, and nothing starts them again`;
    process.stdout.write(`${agentUnit} is removed${left}\n`);
    return 0;
  },
});
