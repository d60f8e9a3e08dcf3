import type { ContainerUser, Quantity, ResourceRequirements, VolumeMountStatus } from '../api/kubernetes.ts';

/**
 * What is known of a pod: read back from units and run records, from what was decided before (the pod's own
 * directory), and from its probes. Plain data; every time is in milliseconds since 1970.
 */
export interface Observed {
  /**
   * Counted from 0: all containers begin anew, init containers first, with each new sandbox and with each restart
   * of all containers. A run of an earlier attempt is history.
   */
  readonly attempt: number;
  /** The latest attempt that a restart rule began (RestartAllContainers). */
  readonly restartedAll?: number;
  readonly sandbox: Sandbox;
  /** By name, which is unique in a pod; one that is not here has never been tried. */
  readonly containers: Readonly<Record<string, ContainerObserved>>;
  /** Addresses of the host, the first of them its preferred family; at most one of each. */
  readonly hostIPs: readonly string[];
  /** When the pod was first seen here. */
  readonly startTime: number;
  readonly qosClass: 'Guaranteed' | 'Burstable' | 'BestEffort';
  readonly deletion?: Deletion;
  readonly failure?: PodFailure;
  /** What was decided of the pod as a whole: DisruptionTarget, PodResizePending, PodResizeInProgress. */
  readonly conditions?: readonly DecidedCondition[];
  readonly allocated?: Readonly<Record<string, Quantity>>;
  readonly resources?: ResourceRequirements;
}

/** The network of the pod. */
export type Sandbox =
  | { readonly kind: 'none' }
  /** It is being set up. */
  | { readonly kind: 'making' }
  | {
      readonly kind: 'failed';
      /** What of it could not be made. */
      readonly what: 'network' | 'volume';
      readonly message: string;
      readonly at: number;
    }
  /** `ips` are empty for a pod on the host's network. */
  | { readonly kind: 'ready'; readonly ips: readonly string[] };

export interface Deletion {
  /** When it was asked for; the grace period begins here. */
  readonly at: number;
  readonly graceSeconds: number;
}

/** A decision that ends the pod for good: DeadlineExceeded, Evicted, NodeShutdown, Preempting, … */
export interface PodFailure {
  readonly reason: string;
  readonly message: string;
  readonly at: number;
  /** The pod's own grace period if it is not here. */
  readonly graceSeconds?: number;
}

export interface DecidedCondition {
  readonly type: 'DisruptionTarget' | 'PodResizePending' | 'PodResizeInProgress';
  readonly status: 'True' | 'False' | 'Unknown';
  readonly reason?: string;
  readonly message?: string;
  readonly observedGeneration?: number;
}

export interface ContainerObserved {
  readonly state: ContainerState;
  /** How the run before that of `state` ended. */
  readonly last?: Terminated;
  readonly image?: string;
  readonly imageID?: string;
  /** As recorded with the latest decision to start it after an end. */
  readonly backOff?: Backoff;
  /** As recorded with the latest pull that failed. */
  readonly pullBackOff?: Backoff;
  /** Requests that are set aside for it. */
  readonly allocated?: ResourceRequirements;
  /** What its unit has been given, while it runs. */
  readonly resources?: ResourceRequirements;
  readonly user?: ContainerUser;
  readonly stopSignal?: string;
  readonly volumeMounts?: readonly VolumeMountStatus[];
}

export type ContainerState =
  | { readonly kind: 'waiting'; readonly failure?: StartFailure }
  /** From the decision to start it until its postStart hook is done: pull, bundle, unit, hook. */
  | {
      readonly kind: 'starting';
      readonly attempt: number;
      readonly restartCount: number;
      /** Image and bundle are there, and what the run before has left is gone. */
      readonly created?: true;
      readonly stopping?: Stopping;
      /** Why the try before this one failed. */
      readonly failure?: StartFailure;
    }
  | Running
  | Terminated;

export interface Running {
  readonly kind: 'running';
  readonly attempt: number;
  /** 0 for the first run of the container. */
  readonly restartCount: number;
  readonly containerID: string;
  readonly startedAt: number;
  readonly probes: Verdicts;
  /** What the postStart hook said when it failed. */
  readonly hookFailed?: string;
  /** What differs from the spec so that only a new run has it. */
  readonly outdated?: 'image' | 'resources';
  readonly stopping?: Stopping;
}

export interface Terminated {
  readonly kind: 'terminated';
  readonly attempt: number;
  readonly restartCount: number;
  readonly containerID: string;
  /** 128+n for death by signal n; 137 if nobody saw the end. */
  readonly exitCode: number;
  /** Only where it is known. */
  readonly signal?: number;
  /** Completed, Error, OOMKilled, StartError, ContainerStatusUnknown; see {@link ./termination.ts}. */
  readonly reason: string;
  readonly message?: string;
  readonly startedAt?: number;
  readonly finishedAt: number;
  /** Why spawnlet ended it, if it was not its own end. */
  readonly stopped?: Pick<Stopping, 'cause' | 'message'>;
}

export type Verdict = 'success' | 'failure';

/** What the probes of the present run have come to; nothing until a threshold is reached. */
export type Verdicts = { readonly [Name in ProbeName]?: Verdict };
export type ProbeName = 'startup' | 'liveness' | 'readiness';

/** `image`, `resources`: see {@link Running.outdated}. `sandbox`: the pod's network is gone. */
export type StopCause =
  | 'podEnd'
  | 'liveness'
  | 'startup'
  | 'postStart'
  | 'image'
  | 'resources'
  | 'sandbox'
  | 'restartAll';

/** A stop that was decided. */
export interface Stopping {
  readonly cause: StopCause;
  readonly message: string;
  /** When it is killed. */
  readonly deadline: number;
  /** `hook`: preStop runs; `turn`: that is over; `term`: it was told to end. */
  readonly stage: 'hook' | 'turn' | 'term';
}

/** Why a container could not be started. The back-offs are not here: they follow from times. */
export interface StartFailure {
  readonly reason: StartFailureReason;
  readonly message: string;
  readonly at: number;
}

export type StartFailureReason =
  | PullFailureReason
  | 'ErrImageNeverPull'
  | 'ImageInspectError'
  | 'InvalidImageName'
  | 'CreateContainerConfigError'
  | 'CreateContainerError'
  | 'RunContainerError';

/** Those that are tried again with the back-off of pulls. */
export type PullFailureReason = 'ErrImagePull' | 'RegistryUnavailable' | 'SignatureValidationFailed';

/** The state of an exponential back-off; see {@link ../restart/backoff.ts}. */
export interface Backoff {
  /** Of what the delay is: another key begins anew. */
  readonly key: string;
  /** Milliseconds to wait before the next try. */
  readonly delay: number;
  /** When the delay was set: at the start of the run, or at the pull that failed. */
  readonly updated: number;
}
