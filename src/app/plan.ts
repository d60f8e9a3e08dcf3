import type { ContainerSpec } from '../engine/container.ts';
import { engines } from '../engine/engines.ts';
import { filterAnnotation } from '../engine/filter-cache.ts';
import { journalSteps } from '../engine/log-namespace.ts';
import { runDirectoryOf } from '../engine/script.ts';
import { signalName } from '../engine/signal.ts';
import { containerUnit } from '../engine/unit.ts';
import type { Plan } from '../host/apply.ts';
import type { Holder } from '../host/process.ts';
import type { HostStep } from '../host/step.ts';
import { appsDirectory, persistentUnits, stateDirectory, transientUnits, unitPath } from '../names.ts';
import { networkFile } from '../network/container-file.ts';
import type { LeaveBridge } from '../network/leave.ts';
import { addressOf } from '../network/subnet.ts';
import type { SystemdStep } from '../systemd/executors.ts';
import { type Healthcheck, healthServiceOf, healthSteps, healthTimerOf, healthUnitPaths } from './health.ts';
import type { DecidedNetwork } from './network.ts';
import type { RunRequest } from './request.ts';
import { directoryOf, type ImageFacts } from './spec.ts';

export type AppStep = HostStep | SystemdStep | LeaveBridge;

export const unitOf = (name: string): string => `${name}.service`;

/** Where the user's changes to a container's unit lie: those of `systemctl set-property`, then those of `systemctl edit`. */
export const dropInsOf = (name: string): readonly string[] =>
  unitPath
    .filter(path => path.endsWith('/system.control') || path === persistentUnits || path === transientUnits)
    .map(path => `${path}/${unitOf(name)}.d`);

export const unitPathOf = (name: string, removeAfterwards: boolean): string =>
  `${removeAfterwards ? transientUnits : persistentUnits}/${unitOf(name)}`;

/** The FIFO at which a container waits until `spawnlet run` has attached. */
export const gateOf = (name: string): string => `${runDirectoryOf(name)}/gate`;

/** Names who waits until the container is made, and lets its program run then: it is gone once that has happened. */
export const waitingFileOf = (directory: string): string => `${directory}/waiting`;

/** Notes in the bundle from which `ps`, `inspect` and a later start know what the container was made of. */
export const annotation = {
  request: 'io.spawnlet.request',
  image: 'io.spawnlet.image',
  digest: 'io.spawnlet.image-digest',
  layers: 'io.spawnlet.layers',
  created: 'io.spawnlet.created',
  health: 'io.spawnlet.health',
  /** podman's name for it. */
  stopSignal: 'org.opencontainers.image.stopSignal',
} as const;

/** Names that containers know their host by: podman's and Docker's. */
const hostNames = 'host.containers.internal host.docker.internal';

/** /etc/hosts: of a container on the bridge its name is that of its address. On the host's network it is the host's. */
function hostsText({ request, spec, network }: RunPlan): string {
  const { hostname } = spec;
  const lines = ['127.0.0.1\tlocalhost', '::1\tlocalhost'];
  const [gateway = ''] = network.kind === 'bridged' ? network.gateways : ['127.0.0.1'];
  if (network.kind === 'bridged') {
    const names = [...new Set([hostname, request.name])].join(' ');
    for (const address of network.network.addresses) lines.push(`${addressOf(address)}\t${names}`);
    lines.push(`${gateway}\t${hostNames}`);
  } else if (hostname) lines[0] += ` ${hostname}`;
  for (const { name, address } of request.hosts ?? []) lines.push(`${address ?? gateway}\t${name}`);
  return lines.map(line => `${line}\n`).join('');
}

/** Name servers that were asked for; else the start script writes them. */
const resolverText = ({ attachment }: RunRequest) =>
  (attachment?.dns ?? []).map(server => `nameserver ${server}\n`).join('');

export interface RunPlan {
  readonly request: RunRequest;
  readonly spec: ContainerSpec;
  readonly image: ImageFacts;
  readonly network: DecidedNetwork;
  /** Milliseconds since 1970. */
  readonly now: number;
  /** Whether somebody waits until the container is made, before the program runs. */
  readonly gate: boolean;
  /** Who that is. */
  readonly self: Holder;
  /** Whether they take its streams then. */
  readonly attached: boolean;
  readonly enable: boolean;
  readonly health: Healthcheck | undefined;
  /** systemd has a unit of this name in memory, of a container that was removed: another unit wants it. */
  readonly loaded?: boolean;
  /** The compiled form of the seccomp filter, for crun. */
  readonly filter?: string;
  /** Words that run spawnlet, for a unit that fetches its image before it starts. */
  readonly spawnlet: readonly string[];
}

/** What makes and starts a container. Up to the start, it is undone if it is cut off. */
export function planRun(plan: RunPlan): Plan<AppStep> {
  const { request, spec } = plan;
  const unit = unitOf(request.name);
  return {
    title: `run ${request.name}`,
    ifInterrupted: 'undo',
    steps: [
      ...directories(spec, plan.image),
      ...bundleFiles(plan),
      ...journalSteps(),
      ...gateSteps(plan),
      {
        do: 'write-file',
        path: unitPathOf(request.name, request.removeAfterwards),
        content: unitText(plan),
        mode: 0o644,
        ...durable(request),
      },
      ...(isTimed(plan.health) ? healthSteps(request, plan.health, plan.spawnlet) : []),
      ...(plan.loaded ? [{ do: 'reload-manager', name: unit } as const] : []),
      ...(plan.enable ? [{ do: 'enable-unit', name: unit } as const] : []),
      { do: 'start-unit', name: unit, fresh: true },
    ],
  };
}

const isTimed = (health: Healthcheck | undefined): health is Healthcheck =>
  health !== undefined && health.interval > 0;

function unitText({ request, spec, image, spawnlet, health }: RunPlan): string {
  const options = {
    description: `${image.name} (container ${request.name})`,
    image: image.name,
    imageDigest: image.digest,
    restart: request.restart,
    removeAfterwards: request.removeAfterwards,
    ...(request.pull === 'always' &&
      !request.removeAfterwards && { pullFirst: [...spawnlet, 'refresh', request.name] }),
    ...(isTimed(health) && { wants: [healthTimerOf(request.name)] }),
  };
  return containerUnit(spec, options, engines[request.engine].lines(spec, request));
}

const directory = (path: string, mode: number): AppStep => ({ do: 'make-directory', path, mode });

function directories({ directory: at, volumes, layers }: ContainerSpec, image: ImageFacts): AppStep[] {
  return [
    directory(stateDirectory, 0o700),
    directory(appsDirectory, 0o700),
    { do: 'make-directory', path: at, mode: 0o700, owns: 'everything' },
    directory(`${at}/upper`, image.rootMode),
    directory(`${at}/work`, 0o700),
    ...(volumes.length > 0 ? [directory(`${at}/volumes`, 0o700)] : []),
    ...(layers.length === 0 ? [directory(`${at}/empty`, 0o755)] : []),
  ];
}

/** A container that is there after the next boot has to be whole then, also if that comes by a power cut. */
const durable = ({ removeAfterwards }: RunRequest) => (removeAfterwards ? {} : ({ durable: true } as const));

/** The files of the bundle; they alone change when a container's image is fetched anew. */
export function bundleFiles(plan: RunPlan): AppStep[] {
  const { request, spec, image, network, now, filter, health } = plan;
  const file = (name: string, content: string, mode: number): AppStep => ({
    do: 'write-file',
    path: `${spec.directory}/${name}`,
    content,
    mode,
    ...durable(request),
  });
  const asked = JSON.stringify(request);
  const engine = engines[request.engine];
  const bundle = `${JSON.stringify(
    engine.bundle(spec, {
      [annotation.request]: asked,
      [annotation.image]: image.name,
      [annotation.digest]: image.digest,
      [annotation.layers]: image.layerKeys.join(','),
      [annotation.created]: new Date(now).toISOString(),
      ...(health && { [annotation.health]: JSON.stringify(health) }),
      [annotation.stopSignal]: signalName(spec.stopSignal),
      ...(filter !== undefined && { [filterAnnotation]: filter }),
    }),
    undefined,
    1,
  )}\n`;
  return [
    file('config.json', bundle, 0o600),
    file('start', engine.startScript(spec, request), 0o600),
    file('stopped', engine.stoppedScript(spec, request), 0o600),
    file('hosts', hostsText(plan), 0o644),
    file('hostname', spec.hostname === '' ? '' : `${spec.hostname}\n`, 0o644),
    file('resolv.conf', resolverText(request), 0o644),
    ...(network.kind === 'bridged' ? [file(networkFile, `${JSON.stringify(network.network)}\n`, 0o600)] : []),
  ];
}

/** The start script makes the FIFOs that are listed here. */
function gateSteps({ request, spec, gate, attached, self }: RunPlan): AppStep[] {
  if (!gate) return [];
  const streams = attached ? engines[request.engine].fifos(request.stdin) : [];
  const run = runDirectoryOf(request.name);
  return [
    directory(run, 0o700),
    { do: 'write-file', path: `${run}/fifos`, content: `${['gate', ...streams].join(' ')}\n`, mode: 0o600 },
    {
      do: 'write-file',
      path: waitingFileOf(spec.directory),
      content: `${JSON.stringify(self)}\n`,
      mode: 0o600,
    },
  ];
}

/** What there is of a container to remove. */
export interface Removal {
  readonly name: string;
  readonly removeAfterwards: boolean;
  readonly enabled: boolean;
  /** Whether a timer asks for its health. */
  readonly timed: boolean;
  /** `bridged`: it is on spawnlet's own bridge; with what takes the bridge away, if nobody else is. */
  readonly network:
    | { readonly kind: 'bridged'; readonly bridge: readonly (HostStep | SystemdStep)[] }
    | 'other';
}

/** What removes a container: exactly what {@link planRun} made. One that runs is killed. */
export function planRemove({ name, removeAfterwards, enabled, timed, network }: Removal): Plan<AppStep> {
  const unit = unitOf(name);
  return {
    title: `rm ${name}`,
    ifInterrupted: 'finish',
    steps: [
      { do: 'kill-unit', name: unit },
      ...(timed
        ? ([
            { do: 'stop-unit', name: healthTimerOf(name) },
            { do: 'kill-unit', name: healthServiceOf(name) },
            ...healthUnitPaths(name, removeAfterwards).map(path => ({ do: 'remove', path }) as const),
          ] as const)
        : []),
      ...(enabled ? [{ do: 'disable-unit', name: unit } as const] : []),
      ...(network === 'other' ? [] : [{ do: 'leave-bridge', name } as const]),
      { do: 'remove', path: unitPathOf(name, removeAfterwards) },
      { do: 'remove', path: directoryOf(name) },
      { do: 'reset-failed-unit', name: unit },
      // What another unit wants stays in memory, and would start without its file.
      { do: 'reload-manager', name: unit },
      ...(network === 'other' ? [] : network.bridge),
    ],
  };
}
