import type { ImageAccess } from '../../app/image.ts';
import type { Profile } from '../../engine/seccomp.ts';
import type { Host } from '../../host/host.ts';
import type { HostStep } from '../../host/step.ts';
import type { PackageImage } from '../../image/package/image.ts';
import type { Program } from '../../image/package/packages.ts';
import type { CniStep } from '../../network/cni/executors.ts';
import type { NetworkList } from '../../network/cni/list.ts';
import type { PublishStep } from '../../network/publish.ts';
import type { SystemdClient } from '../../systemd/client.ts';
import type { SystemdStep } from '../../systemd/executors.ts';
import type { ConfigMap, Pod, Secret } from '../api/kubernetes.ts';
import type { RestartLimits } from '../restart/backoff.ts';
import type { PodEvent } from '../status/events.ts';
import type { Claim } from '../volumes/facts.ts';
import type { OwnVolumeStep } from '../volumes/step.ts';
import type { IpcStep } from './ipc.ts';
import type { MountPointStep } from './mount-points.ts';
import type { MakeUsers } from './users.ts';

/** All that a pod changes on a host. */
export type PodStep =
  | HostStep
  | SystemdStep
  | CniStep
  | PublishStep
  | IpcStep
  | MakeUsers
  | MountPointStep
  | OwnVolumeStep;

/** Objects that pods refer to, as they are now. */
export interface Objects {
  configMap(namespace: string, name: string): ConfigMap | undefined;
  secret(namespace: string, name: string): Secret | undefined;
  /** What the claims of a namespace stand for, by their names. */
  claims(namespace: string): ReadonlyMap<string, Claim>;
}

/** The node that pods are on. */
export interface Node {
  readonly name: string;
  /** The first is the preferred one. */
  readonly addresses: readonly string[];
  /** One that is not of a private network, if it has any. */
  readonly externalAddress?: string;
  /** Bytes. */
  readonly memory: number;
  /** Thousandths of a CPU. */
  readonly cpu: number;
  /** Name servers and domains for `dnsPolicy: ClusterFirst`; none without a cluster: as `Default`. */
  readonly dns: { readonly servers: readonly string[]; readonly domain: string };
  /**
   * Without a cluster: a directory for a file of each pod, in the form of hosts(5), by which the name server of `dns` knows it;
   * undefined where pods do not find each other by name.
   */
  readonly names?: string;
  /** Processes that a pod may have; undefined: as many as the host. */
  readonly podPidsLimit?: number;
  /** The file that pods get their name servers of; undefined for the host's own. */
  readonly resolvConf?: string;
}

/** Where pods get their network, unless they have the host's. */
export interface PodNetwork {
  readonly list: NetworkList;
  /** Who publishes ports of the host: the network's plugins, or the maps of spawnlet's own bridge. */
  readonly publishes: 'plugins' | 'bridge';
}

/** What a worker works with. Nothing in it says where a pod came from. */
export interface WorkerDependencies extends ImageAccess {
  readonly host: Host;
  readonly node: Node;
  readonly objects: Objects;
  readonly limits: RestartLimits;
  /** The network that a pod gets now; what it needs of the host is there. @throws ERR_CNI_CONFIG */
  network(): Promise<PodNetwork>;
  systemd(): Promise<SystemdClient>;
  /** Does what is not done yet of steps that the worker has recorded itself. */
  perform(steps: readonly PodStep[], signal: AbortSignal): Promise<void>;
  /**
   * What of the host an image of the engine `host` is; a package is installed if it is not there.
   *
   * @param never whether it has to be there
   * @param begun told when it is not
   */
  program(image: PackageImage, never: boolean, begun: () => void, signal: AbortSignal): Promise<Program>;
  /** Containers-common's profile of system calls, and what reads one of the administrator's. */
  profile(): Promise<Profile>;
  /** Told whenever the status has changed. */
  changed(pod: Pod): void;
  /** Told of each event, with how often it has happened. */
  event(pod: Pod, event: PodEvent): void;
}
