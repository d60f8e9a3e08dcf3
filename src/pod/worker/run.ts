import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { imageFacts, missingTargets } from '../../app/facts.ts';
import type { ImageFacts } from '../../app/spec.ts';
import { cgroupVersion } from '../../engine/cgroup.ts';
import type { ContainerSpec } from '../../engine/container.ts';
import { engines } from '../../engine/engines.ts';
import { execIn } from '../../engine/exec.ts';
import { compiledFilter, filterAnnotation, keepFilter } from '../../engine/filter-cache.ts';
import { journalSteps } from '../../engine/log-namespace.ts';
import { execInside } from '../../engine/nspawn-exec.ts';
import { runDirectoryOf } from '../../engine/script.ts';
import { type Profile, parseProfile } from '../../engine/seccomp.ts';
import { programMissing } from '../../host/child.ts';
import { SpawnletError } from '../../host/error.ts';
import { hasProgram } from '../../host/program.ts';
import type { HostStep } from '../../host/step.ts';
import { transientUnits } from '../../names.ts';
import type { Container, EphemeralContainer, Pod } from '../api/kubernetes.ts';
import { seccompOf } from '../container/security.ts';
import { containerOf } from '../container/spec.ts';
import { userOf } from '../container/user.ts';
import { oomScoreAdjust } from '../spec/qos.ts';
import { countOf } from '../spec/quantity.ts';
import { resourcesOf } from '../spec/resources.ts';
import type { Resources } from '../unit/limits.ts';
import { containerDirectory, engineName, pidNamespaceOf, unitOf } from '../unit/names.ts';
import { bundleServiceLines, containerUnit } from '../unit/service.ts';
import type { PodStep, WorkerDependencies } from './dependencies.ts';
import type { ContainerEngine, PreparedRun } from './engine.ts';
import { hostnameOf, messagePath, nameMounts } from './files.ts';
import { type PullPolicy, podImage } from './image.ts';
import { annotation } from './in-use.ts';
import type { RunRequest } from './run-request.ts';
import { ipcOf, podNetns, sharesIpc, sharesProcesses } from './sandbox.ts';
import { usersOf } from './users.ts';

/** One run of a container that is a bundle: what is fetched, looked up and written before its unit starts. */

/** Who runs bundles. */
type BundleEngine = keyof typeof engines;

const million = 1_000_000n;
const billion = 1_000_000_000n;

export function containerResources({ resources }: Container | EphemeralContainer): Resources {
  const limits = resourcesOf(resources?.limits);
  const requests = resourcesOf(resources?.requests);
  const [cpuLimit, cpuRequest, memory] = [limits.get('cpu'), requests.get('cpu'), limits.get('memory')];
  return {
    ...(cpuRequest && { cpuRequest: countOf(cpuRequest.nano, million) }),
    ...(cpuLimit && { cpuLimit: countOf(cpuLimit.nano, million) }),
    ...(memory && { memoryLimit: countOf(memory.nano, billion) }),
  };
}

/** Where the kubelet has profiles of the administrator's. */
const profileDirectory = '/var/lib/kubelet/seccomp';

/** The profile that a container names. @throws ERR_SECCOMP_PROFILE */
async function localProfiles(
  { host }: WorkerDependencies,
  pod: Pod,
  container: Container | EphemeralContainer,
): Promise<Readonly<Record<string, Profile>>> {
  const { type, localhostProfile = '' } = seccompOf(pod, container);
  if (type !== 'Localhost') return {};
  const path = join(profileDirectory, localhostProfile);
  const text = path.startsWith(`${profileDirectory}/`) ? await host.files.read(path) : undefined;
  if (text !== undefined) return { [localhostProfile]: parseProfile(text, path) };
  throw new SpawnletError('ERR_SECCOMP_PROFILE', `there is no seccomp profile ${localhostProfile}`, {
    hint: `put it into ${profileDirectory}`,
  });
}

/** Hex: what this process lacks nobody below it has. */
export const ownBoundingSet = async (): Promise<string> =>
  /^CapBnd:\s*([0-9a-f]+)$/m.exec(await readFile('/proc/self/status', 'latin1'))?.[1] ?? '0';

/** By its class of service and its share of the memory. */
export const oomScoreOf = async (
  { node }: WorkerDependencies,
  { pod, container }: RunRequest,
  boundingSet: string,
): Promise<number> => Math.max(oomScoreAdjust(pod, container, node.memory), await lowestScore(boundingSet));

/** A process without CAP_SYS_RESOURCE cannot make another one live longer than itself. */
async function lowestScore(boundingSet: string): Promise<number> {
  const sysResource = 24n;
  if ((BigInt(`0x${boundingSet}`) >> sysResource) & 1n) return -1000;
  return Number(await readFile('/proc/self/oom_score_adj', 'latin1'));
}

/**
 * Fetches the image as its policy says, and decides everything that a run is made of.
 *
 * @throws what fetching throws, and ERR_RUN_AS_NON_ROOT, ERR_NO_COMMAND and what look-ups in the image throw
 */
async function prepareRun(
  by: BundleEngine,
  deps: WorkerDependencies,
  request: RunRequest,
  signal: AbortSignal,
): Promise<PreparedRun> {
  const { pod, identity, container, tell } = request;
  const { files } = deps.host;
  for (const program of engines[by].programs)
    if (!(await hasProgram(files, program))) throw programMissing(program);
  const wanted = {
    image: container.image ?? '',
    policy: (container.imagePullPolicy ?? 'IfNotPresent') as PullPolicy,
    tell,
  };
  const { name, image, isFetched } = await podImage(deps, pod, wanted, signal);
  if (!isFetched) {
    const there = 'already present on machine and can be accessed by the pod';
    tell('Normal', 'Pulled', `Container image ${JSON.stringify(wanted.image)} ${there}`);
  }
  const store = await deps.store();
  const boundingSet = await ownBoundingSet();
  const user = userOf(pod, container, store.views(image), image.config.user);
  const env = [...request.variables].map(([variable, value]) => `${variable}=${value}`);
  const found = imageFacts(store, image, {
    image: name,
    user: `${user.uid}:${user.gid}`,
    ...(container.workingDir && { workdir: container.workingDir }),
    volumes: [],
    tmpfs: [],
  });
  const users = await usersOf(deps.host, identity.uid);
  const isAlone = pod.spec?.hostNetwork ?? false;
  const decided = containerOf(pod, identity, container, {
    image: { ...found, user },
    env,
    ...(request.command && { command: request.command }),
    ...(request.args && { args: request.args }),
    mounts: [...nameMounts(identity, container), ...request.volumes],
    hostname: hostnameOf(pod, identity, deps.node),
    namespaces: {
      ...(!isAlone && { network: podNetns(identity) }),
      ...((sharesIpc(pod) || users) && { ipc: ipcOf(identity.uid) }),
      ...(sharesProcesses(pod) && { pid: pidNamespaceOf(identity.uid) }),
    },
    ...(users && { users }),
    cgroups: cgroupVersion(),
    boundingSet,
    profiles: { standard: await deps.profile(), local: await localProfiles(deps, pod, container) },
    oomScoreAdj: await oomScoreOf(deps, request, boundingSet),
    grace: request.grace,
  });
  const spec =
    by === 'nspawn' && decided.readOnly
      ? { ...decided, missingTargets: missingTargets(store.views(image), decided.mounts) }
      : decided;
  const filter = by === 'crun' ? await compiledFilter(files, spec.seccomp) : undefined;
  const unitPath = `${transientUnits}/${unitOf(identity, container.name)}`;
  const isThere = (await files.look(unitPath)) !== undefined;
  return {
    steps: runSteps(by, request, spec, found, filter).filter(
      // A unit is written once: another text would have systemd read all units again.
      step => !isThere || !('path' in step) || step.path !== unitPath,
    ),
    image: name,
    imageID: image.id,
    hold: wanted => store.hold(found.digest, found.layerKeys, wanted),
    begun: async () => {
      if (by === 'crun') await keepFilter(files, engineName(identity, container.name), spec.seccomp);
    },
  };
}

const directory = (path: string, mode: number): HostStep => ({ do: 'make-directory', path, mode });

/** Every run has a fresh root and no traces of the one before: a record that is there afterwards is this run's. */
function runSteps(
  by: BundleEngine,
  { identity, qos, container }: RunRequest,
  spec: ContainerSpec,
  image: ImageFacts,
  filter: string | undefined,
): PodStep[] {
  const at = containerDirectory(identity.uid, container.name);
  const engine = engines[by];
  const way = { removeAfterwards: false, register: false, isTold: true } as const;
  const file = (name: string, content: string, mode = 0o600): HostStep => ({
    do: 'write-file',
    path: `${at}/${name}`,
    content,
    mode,
  });
  const config = engine.bundle(spec, {
    [annotation.digest]: image.digest,
    [annotation.layers]: image.layerKeys.join(','),
    ...(filter !== undefined && { [filterAnnotation]: filter }),
  });
  return [
    directory(at, 0o700),
    ...['record', 'error', 'started', 'upper', 'work', 'prepared', 'termination-log'].map(
      (name): HostStep => ({ do: 'remove', path: `${at}/${name}` }),
    ),
    directory(`${at}/upper`, image.rootMode),
    directory(`${at}/work`, 0o700),
    ...(spec.volumes.length > 0 ? [directory(`${at}/volumes`, 0o700)] : []),
    ...(spec.layers.length === 0 ? [directory(`${at}/empty`, 0o755)] : []),
    file('config.json', JSON.stringify(config)),
    file('start', engine.startScript(spec, way)),
    file('stopped', engine.stoppedScript(spec, way)),
    ...(engine.begunScript ? [file('begun', engine.begunScript(spec))] : []),
    { do: 'write-file', path: messagePath(identity.uid, container.name), content: '', mode: 0o666 },
    ...journalSteps(),
    {
      do: 'write-file',
      path: `${transientUnits}/${unitOf(identity, container.name)}`,
      content: containerUnit(
        {
          pod: identity,
          qos,
          container: container.name,
          image: image.name,
          resources: containerResources(container),
          engine: by,
          joinsProcesses: spec.joins?.pid !== undefined,
        },
        bundleServiceLines(spec, engine.lines(spec, way)),
      ),
      mode: 0o644,
    },
  ];
}

const pidFileOf: ContainerEngine['pidFileOf'] = ({ identity, name }) =>
  `${runDirectoryOf(engineName(identity, name))}/pid`;

export const crunContainers: ContainerEngine = {
  prepare: (...words) => prepareRun('crun', ...words),
  exec: (host, { identity, name }, process, stdio, begun, signal) =>
    execIn(host, engineName(identity, name), process, stdio, begun, signal),
  pidFileOf,
  logOf: ({ identity, name }, invocation) => ({
    kind: 'container',
    name: engineName(identity, name),
    invocation,
  }),
};

export const nspawnContainers: ContainerEngine = {
  prepare: (...words) => prepareRun('nspawn', ...words),
  exec: (host, container, process, stdio, begun, signal) => {
    const { identity, name } = container;
    const inside = {
      unit: unitOf(identity, name),
      pidFile: pidFileOf(container),
      directory: runDirectoryOf(engineName(identity, name)),
      bundle: `${containerDirectory(identity.uid, name)}/config.json`,
    };
    return execInside(host, inside, process, stdio, begun, signal);
  },
  pidFileOf,
  // What nspawn says itself is not the container's.
  logOf: ({ identity, name }, invocation) => ({
    kind: 'unit',
    unit: unitOf(identity, name),
    invocation,
    transport: 'stdout',
  }),
};
