import type { Users } from '../../engine/container.ts';
import { SpawnletError } from '../../host/error.ts';
import type { HostStep } from '../../host/step.ts';
import { podNetworkRecord } from '../../names.ts';
import type { PortMapping } from '../../network/cni/attachment.ts';
import { pluginPath } from '../../network/cni/attachment.ts';
import type { CniStep } from '../../network/cni/executors.ts';
import { netnsPath } from '../../network/cni/netns.ts';
import type { PublishStep } from '../../network/publish.ts';
import type { PublishedPort } from '../../network/spec.ts';
import type { Pod } from '../api/kubernetes.ts';
import { countOf } from '../spec/quantity.ts';
import { enforcedLimit, podRequests } from '../spec/resources.ts';
import { members } from '../status/roles.ts';
import { anchorRemoval } from '../unit/anchor.ts';
import type { Resources } from '../unit/limits.ts';
import {
  directoryOf,
  type PodIdentity,
  pidNamespaceOf,
  type QosClass,
  runtimeOf,
  userNamespaceOf,
} from '../unit/names.ts';
import { podUnitRemoval, podUnitSteps } from '../unit/pod.ts';
import type { Node, PodNetwork, PodStep } from './dependencies.ts';
import { knownAsRemoval } from './files.ts';

/** What all containers of a pod share: slice and target, network, and the directories that their files lie in. */

const million = 1_000_000n;
const billion = 1_000_000_000n;

export const netnsOf = ({ uid }: PodIdentity): string => `pod-${uid}`;

/** The same as a file. */
export const podNetns = (pod: PodIdentity): string => netnsPath(netnsOf(pod));

/** The IPC namespace that containers share: one that is alone, and has the kernel's settings, has its own. */
export const ipcOf = (uid: string): string => `${runtimeOf(uid)}/ipc`;

export const sharesProcesses = (pod: Pod): boolean => pod.spec?.shareProcessNamespace ?? false;

export const sharesIpc = (pod: Pod): boolean =>
  !pod.spec?.hostIPC && (members(pod).length > 1 || (pod.spec?.securityContext?.sysctls ?? []).length > 0);

/** Limits of the pod as a whole. */
export function podResources(pod: Pod, node: Node): Resources {
  const cpu = enforcedLimit(pod, 'cpu');
  const memory = enforcedLimit(pod, 'memory');
  const request = podRequests(pod).get('cpu');
  return {
    ...(request && { cpuRequest: countOf(request.nano, million) }),
    ...(cpu && { cpuLimit: countOf(cpu.nano, million) }),
    ...(memory && { memoryLimit: countOf(memory.nano, billion) }),
    ...(node.podPidsLimit !== undefined && { tasks: node.podPidsLimit }),
  };
}

export const containerNames = (pod: Pod): string[] => members(pod).map(({ spec }) => spec.name);

/** Ports of the host that lead to containers. */
function portsOf(pod: Pod): PortMapping[] {
  return members(pod).flatMap(({ spec }) =>
    (spec.ports ?? []).flatMap(({ hostPort, containerPort, protocol = 'TCP', hostIP }) =>
      hostPort === undefined || hostPort === 0
        ? []
        : {
            hostPort,
            containerPort,
            protocol: protocol.toLowerCase() as PortMapping['protocol'],
            ...(hostIP && { hostIP }),
          },
    ),
  );
}

/**
 * Ports that a pod asks of the host, as containers and machines have theirs: of one that has the host's network none, as its
 * programs listen there themselves; nor any of SCTP, which nobody else publishes.
 */
export const hostPorts = (pod: Pod): PublishedPort[] =>
  pod.spec?.hostNetwork
    ? []
    : portsOf(pod).flatMap(({ protocol, ...port }) =>
        protocol === 'sctp' ? [] : [publishedAs({ ...port, protocol })],
      );

const publishedAs = ({
  hostPort,
  containerPort,
  protocol,
  hostIP,
}: PortMapping & Pick<PublishedPort, 'protocol'>): PublishedPort => ({
  protocol,
  hostPort,
  port: containerPort,
  ...(hostIP !== undefined && hostIP !== '0.0.0.0' && hostIP !== '::' && { address: hostIP }),
});

/** The same for the maps of spawnlet's own bridge. @throws ERR_PORT_PROTOCOL */
const published = (ports: readonly PortMapping[]): PublishedPort[] =>
  ports.map(({ protocol, ...port }) => {
    const { hostPort } = port;
    if (protocol === 'sctp')
      throw new SpawnletError(
        'ERR_PORT_PROTOCOL',
        `hostPort ${hostPort}: SCTP is not published by this network`,
        {
          hint: 'a network with the plugin portmap: a .conflist in /etc/cni/net.d',
        },
      );
    return publishedAs({ ...port, protocol });
  });

function networkSteps(
  pod: Pod,
  identity: PodIdentity,
  { list, publishes }: PodNetwork,
  users: Users | undefined,
): (CniStep | PublishStep)[] {
  const ports = portsOf(pod);
  const isOwn = publishes === 'bridge';
  return [
    // Its own users have one of their own.
    ...(users ? [] : [{ do: 'make-netns', name: netnsOf(identity) } as const]),
    {
      do: 'cni-add',
      path: podNetworkRecord(identity.uid),
      network: list,
      attachment: {
        container: identity.uid,
        netns: netnsOf(identity),
        interface: 'eth0',
        args: {
          IgnoreUnknown: '1',
          K8S_POD_NAMESPACE: identity.namespace,
          K8S_POD_NAME: identity.name,
          K8S_POD_INFRA_CONTAINER_ID: identity.uid,
          K8S_POD_UID: identity.uid,
        },
        capabilities: ports.length > 0 && !isOwn ? { portMappings: ports } : {},
        path: pluginPath,
      },
    },
    ...(ports.length > 0 && isOwn
      ? ([
          {
            do: 'publish-ports',
            name: identity.uid,
            record: podNetworkRecord(identity.uid),
            ports: published(ports),
          },
        ] as const)
      : []),
  ];
}

const directory = (path: string, mode: number): HostStep => ({ do: 'make-directory', path, mode });

/** What makes a sandbox; done again, it changes nothing. @param network undefined: the host's */
export function sandboxSteps(
  pod: Pod,
  identity: PodIdentity,
  qos: QosClass,
  node: Node,
  network: PodNetwork | undefined,
  users: Users | undefined,
): PodStep[] {
  const { uid } = identity;
  const ipc = ipcOf(uid);
  return [
    directory(directoryOf(uid), 0o700),
    directory(`${directoryOf(uid)}/containers`, 0o700),
    directory(runtimeOf(uid), 0o700),
    ...podUnitSteps({
      pod: identity,
      qos,
      resources: podResources(pod, node),
      containers: containerNames(pod),
      anchor: sharesProcesses(pod),
    }),
    ...(users
      ? [
          {
            do: 'make-users',
            user: users.namespace,
            network: netnsOf(identity),
            ipc,
            first: users.first,
          } as const,
        ]
      : sharesIpc(pod)
        ? [{ do: 'make-ipc', path: ipc } as const]
        : []),
    ...(network ? networkSteps(pod, identity, network, users) : []),
  ];
}

/** What takes it away, its containers with it. */
export function sandboxRemoval(pod: Pod, identity: PodIdentity, qos: QosClass, node: Node): PodStep[] {
  const { uid } = identity;
  const cni: (CniStep | PublishStep)[] = pod.spec?.hostNetwork
    ? []
    : [
        { do: 'unpublish-ports', name: uid },
        { do: 'cni-del', path: podNetworkRecord(uid) },
        { do: 'remove-netns', name: netnsOf(identity) },
      ];
  return [
    ...podUnitRemoval({
      pod: identity,
      qos,
      resources: podResources(pod, node),
      containers: containerNames(pod),
      anchor: sharesProcesses(pod),
    }),
    ...(sharesProcesses(pod) ? anchorRemoval(identity) : []),
    ...knownAsRemoval(uid, node),
    ...cni,
    { do: 'remove-namespace', path: pidNamespaceOf(uid) },
    { do: 'remove-namespace', path: ipcOf(uid) },
    { do: 'remove-mount-points', uid },
    { do: 'remove-namespace', path: userNamespaceOf(uid) },
    { do: 'remove', path: runtimeOf(uid) },
  ];
}
