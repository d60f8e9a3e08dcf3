import {
  allCapabilities,
  capabilitySet,
  defaultCapabilities,
  possibleCapabilities,
} from '../../engine/capabilities.ts';
import { execBeside } from '../../engine/host/exec.ts';
import { parsePackageUnit } from '../../engine/host/package-unit.ts';
import { type HostProgram, variablesOf } from '../../engine/host/program.ts';
import { runDirectories } from '../../engine/host/sandbox.ts';
import { begunScript, stoppedScript } from '../../engine/host/scripts.ts';
import { hostServiceLines } from '../../engine/host/service.ts';
import { journalSteps } from '../../engine/log-namespace.ts';
import { parseSignal, signalName } from '../../engine/signal.ts';
import type { HostStep } from '../../host/step.ts';
import { type PackageImage, parsePackageImage } from '../../image/package/image.ts';
import type { Program } from '../../image/package/packages.ts';
import { transientUnits } from '../../names.ts';
import { environmentFile } from '../../systemd/escape.ts';
import { hostUserOf } from '../container/host-user.ts';
import { hostWords } from '../container/host-words.ts';
import { seccompOf } from '../container/security.ts';
import { goDuration } from '../status/time.ts';
import { containerDirectory, engineName, runtimeOf, unitOf } from '../unit/names.ts';
import { containerUnit } from '../unit/service.ts';
import type { PodStep, WorkerDependencies } from './dependencies.ts';
import type { ContainerEngine, PreparedRun } from './engine.ts';
import { hostNameMounts, hostnameOf, messagePath } from './files.ts';
import { containerResources, oomScoreOf, ownBoundingSet } from './run.ts';
import type { RunRequest } from './run-request.ts';
import { ipcOf, sharesIpc } from './sandbox.ts';

/** One run of a container that is a program of the host. */

/** Variables of every such container; its own go before them. */
function variablesFor({ node }: WorkerDependencies, request: RunRequest, home: string | undefined) {
  const [internal = ''] = node.addresses;
  const external = node.externalAddress ?? internal;
  return Object.fromEntries([
    ...(home === undefined ? [] : [['HOME', home] as const]),
    ['HOSTNAME', hostnameOf(request.pod, request.identity, node)],
    ...['SYSTEMK', 'SPAWNLET'].flatMap(prefix => [
      [`${prefix}_NODE_INTERNAL_IP`, internal] as const,
      [`${prefix}_NODE_EXTERNAL_IP`, external] as const,
    ]),
    ...request.variables,
  ]);
}

function privilegesOf({ pod, container }: RunRequest, boundingSet: string) {
  const own = container.securityContext ?? {};
  const privileged = own.privileged ?? false;
  const { add = [], drop = [] } = own.capabilities ?? {};
  const wanted = capabilitySet(privileged ? allCapabilities : defaultCapabilities, add, drop);
  const isUnconfined = privileged || seccompOf(pod, container).type === 'Unconfined';
  return {
    privileged,
    capabilities: possibleCapabilities(wanted, boundingSet),
    asPackaged: !privileged && add.length === 0 && drop.length === 0,
    noNewPrivileges: !privileged && own.allowPrivilegeEscalation !== true,
    seccomp: isUnconfined ? 'unconfined' : 'default',
  } as const;
}

function ipcFor({ pod, identity }: RunRequest): HostProgram['ipc'] {
  if (pod.spec?.hostIPC) return 'host';
  return sharesIpc(pod) ? { path: ipcOf(identity.uid) } : 'own';
}

/** What the image is on this host, with the events of a pull. */
async function programFor(
  deps: WorkerDependencies,
  { container, tell }: RunRequest,
  image: PackageImage,
  signal: AbortSignal,
): Promise<Program> {
  const name = JSON.stringify(container.image);
  const begin = deps.host.clock.now();
  let isFetched = false;
  const begun = () => {
    isFetched = true;
    tell('Normal', 'Pulling', `Pulling image ${name}`);
  };
  const never = container.imagePullPolicy === 'Never';
  const found = await deps.program(image, never, begun, signal);
  const time = goDuration(deps.host.clock.now() - begin);
  const message = isFetched
    ? `Successfully pulled image ${name} in ${time} (${time} including waiting).`
    : `Container image ${name} already present on machine and can be accessed by the pod`;
  tell('Normal', 'Pulled', message);
  return found;
}

/** @throws what looking for a package, a user or a program throws */
async function prepare(
  deps: WorkerDependencies,
  request: RunRequest,
  signal: AbortSignal,
): Promise<PreparedRun> {
  const { pod, identity, container } = request;
  const image = parsePackageImage(container.image ?? '');
  const found = await programFor(deps, request, image, signal);
  const service = found.unit && parsePackageUnit(found.unit.text, found.unit.name);
  const boundingSet = await ownBoundingSet();
  const { home, ...user } = hostUserOf(pod, container, service);
  const stopSignal = container.lifecycle?.stopSignal;
  const program: HostProgram = {
    name: engineName(identity, container.name),
    directory: containerDirectory(identity.uid, container.name),
    run: `${runtimeOf(identity.uid)}/${container.name}`,
    ...(service && { service }),
    words: await hostWords(container, {
      variables: request.variables,
      ...(found.path !== undefined && { path: found.path }),
      ...(service && { service }),
      ...(request.command && { command: request.command }),
    }),
    user,
    ...(container.workingDir && { cwd: container.workingDir }),
    mounts: [...hostNameMounts(pod, identity, container), ...request.volumes],
    ...privilegesOf(request, boundingSet),
    ipc: ipcFor(request),
    seesProcesses: pod.spec?.hostPID ?? false,
    oomScoreAdj: await oomScoreOf(deps, request, boundingSet),
    ...(stopSignal && { stopSignal: signalName(parseSignal(stopSignal)) }),
    grace: request.grace,
  };
  const variables = variablesFor(deps, request, service ? undefined : home);
  return {
    steps: await runSteps(deps, request, program, found, variables),
    image: found.image,
    imageID: found.id,
    // A package is the host's, and stays.
    hold: async () => ({ [Symbol.asyncDispose]: async () => undefined }),
    begun: async () => undefined,
  };
}

const directory = (path: string, mode: number): HostStep => ({ do: 'make-directory', path, mode });

/** Every run has a /run of its own and no traces of the one before. */
async function runSteps(
  { host }: WorkerDependencies,
  { identity, qos, container }: RunRequest,
  program: HostProgram,
  found: Program,
  variables: Readonly<Record<string, string>>,
): Promise<PodStep[]> {
  const { directory: at, run } = program;
  const unit = unitOf(identity, container.name);
  const path = `${transientUnits}/${unit}`;
  const text = containerUnit(
    {
      pod: identity,
      qos,
      container: container.name,
      image: found.image,
      resources: containerResources(container),
      engine: 'host',
      joinsProcesses: false,
    },
    hostServiceLines(program),
  );
  const before = await host.files.read(path);
  const file = (name: string, content: string): HostStep => ({
    do: 'write-file',
    path: `${at}/${name}`,
    content,
    mode: 0o600,
  });
  return [
    directory(at, 0o700),
    ...['record', 'error', 'started', 'pid', 'termination-log'].map(
      (name): HostStep => ({ do: 'remove', path: `${at}/${name}` }),
    ),
    { do: 'remove', path: run },
    directory(run, 0o755),
    ...runDirectories.map(([name, mode]) => directory(`${run}/run${name}`, mode)),
    { do: 'write-file', path: variablesOf(program), content: environmentFile(variables), mode: 0o600 },
    file('config.json', JSON.stringify(processOf(program, variables))),
    file('begun', begunScript(program)),
    file('stopped', stoppedScript(program)),
    { do: 'write-file', path: messagePath(identity.uid, container.name), content: '', mode: 0o666 },
    {
      do: 'make-mount-points',
      uid: identity.uid,
      mounts: program.mounts.flatMap(mount => (mount.kind === 'bind' ? mount : [])),
    },
    ...journalSteps(),
    { do: 'write-file', path, content: text, mode: 0o644 },
    // Its text is the same for all runs, unless the package or its user is another by now.
    ...(before !== undefined && before !== text ? [{ do: 'reload-manager', name: unit } as const] : []),
  ];
}

/** What exec begins with, as a bundle has it; who it is the kernel says. */
const processOf = ({ user, cwd = '/' }: HostProgram, variables: Readonly<Record<string, string>>) => ({
  process: {
    args: [],
    env: Object.entries(variables).map(([name, value]) => `${name}=${value}`),
    cwd,
    terminal: false,
    user: { uid: 0, gid: 0, ...user.ids },
  },
});

const pidFileOf: ContainerEngine['pidFileOf'] = ({ identity, name }) =>
  `${containerDirectory(identity.uid, name)}/pid`;

export const hostContainers: ContainerEngine = {
  prepare,
  exec: (host, container, process, stdio, begun, signal) => {
    const { identity, name } = container;
    const beside = {
      unit: unitOf(identity, name),
      pidFile: pidFileOf(container),
      directory: containerDirectory(identity.uid, name),
    };
    return execBeside(host, beside, process, stdio, begun, signal);
  },
  pidFileOf,
  logOf: ({ identity, name }, invocation) => ({ kind: 'unit', unit: unitOf(identity, name), invocation }),
};
