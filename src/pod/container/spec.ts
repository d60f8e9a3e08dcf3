import { type ImageFacts, mergeEnv, processUser } from '../../app/spec.ts';
import type { CgroupVersion } from '../../engine/cgroup.ts';
import { type ContainerSpec, type Mount, type Users, volumeName } from '../../engine/container.ts';
import { parseSignal } from '../../engine/signal.ts';
import { SpawnletError } from '../../host/error.ts';
import type { Container, EphemeralContainer, Pod } from '../api/kubernetes.ts';
import { containerDirectory, engineName, type PodIdentity } from '../unit/names.ts';
import { type Profiles, privilegesOf } from './security.ts';

/** What of the world one run of a container is made of. */
export interface RunFacts {
  readonly image: ImageFacts;
  /** Resolved, `$(VAR)` put in; undefined where the pod says nothing. */
  readonly command?: readonly string[];
  readonly args?: readonly string[];
  /** `NAME=value`, the pod's; the image's come before them. */
  readonly env: readonly string[];
  /** Volumes, and the files that give it names. */
  readonly mounts: readonly Mount[];
  readonly hostname: string;
  readonly namespaces: ContainerSpec['joins'];
  /** Of a pod that has users of its own. */
  readonly users?: Users;
  readonly cgroups: CgroupVersion;
  readonly boundingSet: string;
  readonly profiles: Profiles;
  readonly oomScoreAdj: number;
  /** Seconds. */
  readonly grace: number;
}

const defaultPath = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
const sigterm = 15;

/** The words to run, as Kubernetes combines `command` and `args` with the image's. @throws ERR_NO_COMMAND */
function wordsOf(
  container: Container | EphemeralContainer,
  { image, command, args }: RunFacts,
): readonly string[] {
  const { entrypoint, cmd } = image.config;
  const words = [...(command ?? entrypoint), ...(args ?? (command ? [] : cmd))];
  if (words.length > 0) return words;
  throw new SpawnletError('ERR_NO_COMMAND', `the image of ${container.name} does not say what to run`, {
    hint: `set command of container ${container.name}`,
  });
}

/** Directories for the volumes of the image that the pod puts nothing at: they live as long as the pod. */
const imageVolumes = ({ image, mounts }: RunFacts, directory: string) =>
  image.volumes
    .filter(({ target }) => !mounts.some(mount => mount.target === target))
    .map(volume => ({
      ...volume,
      directory: `${directory}/volumes/${volumeName(volume.target)}`,
    }));

/** Everything decided: what the engine runs. */
export function containerOf(
  pod: Pod,
  identity: PodIdentity,
  container: Container | EphemeralContainer,
  facts: RunFacts,
): ContainerSpec {
  const { image, namespaces } = facts;
  const spec = pod.spec;
  const own = container.securityContext ?? {};
  const directory = containerDirectory(identity.uid, container.name);
  const volumes = imageVolumes(facts, directory);
  const sysctls = spec?.securityContext?.sysctls ?? [];
  const shares = [...(spec?.hostPID ? (['pid'] as const) : []), ...(spec?.hostIPC ? (['ipc'] as const) : [])];
  const stopSignal = container.lifecycle?.stopSignal ?? image.config.stopSignal;
  return {
    name: engineName(identity, container.name),
    directory,
    args: wordsOf(container, facts),
    env: mergeEnv(
      [
        defaultPath,
        `HOSTNAME=${facts.hostname}`,
        `HOME=${image.user.home}`,
        ...(container.tty ? ['TERM=xterm'] : []),
      ],
      image.config.env,
      facts.env,
    ),
    cwd: container.workingDir || image.config.workingDir || '/',
    user: processUser(image.user),
    hostname: facts.hostname,
    terminal: container.tty ?? false,
    stdin: (container.stdin ?? false) && (container.stdinOnce ? 'once' : 'kept'),
    layers: image.layers,
    readOnly: own.readOnlyRootFilesystem ?? false,
    mounts: [
      ...volumes.map(
        (volume): Mount => ({
          kind: 'bind',
          source: volume.directory,
          target: volume.target,
          readOnly: false,
          propagation: 'rprivate',
          // Copied out of the image, whose files are mapped.
          unmapped: true,
        }),
      ),
      ...facts.mounts,
    ],
    volumes: volumes.map(({ directory: at, content }) => ({ directory: at, content })),
    missingDirectory: image.missingWorkdir,
    devices: [],
    ...privilegesOf(pod, container, facts.profiles, facts.boundingSet),
    network: spec?.hostNetwork ? 'host' : 'none',
    ...(namespaces && { joins: namespaces }),
    ...(facts.users && { users: facts.users }),
    ...(shares.length > 0 && { shares }),
    namesGiven: true,
    ...(own.procMount === 'Unmasked' && { unmasked: true }),
    oomScoreAdj: facts.oomScoreAdj,
    ...(sysctls.length > 0 && {
      sysctls: Object.fromEntries(sysctls.map(({ name, value }) => [name, value])),
    }),
    cgroups: facts.cgroups,
    limits: {},
    stopSignal: stopSignal ? parseSignal(stopSignal) : sigterm,
    stopTimeout: facts.grace,
  };
}
