import type { Apps } from '../app/app.ts';
import type { ImageAccess } from '../app/image.ts';
import type { AppStep } from '../app/plan.ts';
import type { Applier } from '../host/apply.ts';
import type { Host } from '../host/host.ts';
import type { ImageStep } from '../image/executors.ts';
import type { InUse, Removed } from '../image/garbage.ts';
import type { LayerProgress } from '../image/pull.ts';
import type { Store } from '../image/store.ts';
import type { StoredImage } from '../image/stored-image.ts';
import type { TreeStep } from '../image/tree/executors.ts';
import type { BuildProgress } from '../image/tree/progress.ts';
import type { LabStep } from '../lab/plan.ts';
import type { Machines } from '../machine/machines.ts';
import type { MachineStep } from '../machine/step.ts';
import type { OwnBridgeStep } from '../network/bridge.ts';
import type { CniStep } from '../network/cni/executors.ts';
import type { PublishStep } from '../network/publish.ts';
import type { VolumeObjects } from '../pod/volumes/content/payload.ts';
import type { OwnVolumeStep } from '../pod/volumes/step.ts';
import type { IpcStep } from '../pod/worker/ipc.ts';
import type { MountPointStep } from '../pod/worker/mount-points.ts';
import type { MakeUsers } from '../pod/worker/users.ts';
import type { SystemdClient } from '../systemd/client.ts';

/** Every step that any room knows. */
export type AnyStep =
  | AppStep
  | ImageStep
  | TreeStep
  | LabStep
  | MachineStep
  | OwnBridgeStep
  | CniStep
  | IpcStep
  | MountPointStep
  | MakeUsers
  | OwnVolumeStep
  | PublishStep;

/** What commands work with; each part is loaded when it is first asked for. */
export interface Context {
  readonly host: Host;
  /** Aborted by SIGINT and SIGTERM, unless the command takes these itself. */
  readonly signal: AbortSignal;
  readonly env: NodeJS.ProcessEnv;
  /** The words that run this spawnlet again. */
  readonly words: readonly string[];
  /** Who is told of what steps do. */
  readonly listeners: {
    progress?: (event: LayerProgress) => void;
    pulled?: (image: StoredImage) => void;
    removed?: (removed: Removed) => void;
    building?: (event: BuildProgress) => void;
    /** systemd has begun to start a unit. */
    queued?: () => void;
  };
  /** Where files of volumes come from; only the agent has some. */
  volumeObjects: VolumeObjects | undefined;
  /** `--tls-verify=false` for the registries of this command. */
  tlsVerify: boolean;
  /** `--authfile` for the registries of this command. */
  authFile: string | undefined;
  /** The applier, after it has undone or finished what a killed command had begun. */
  applier(): Promise<Applier<AnyStep>>;
  store(): Promise<Store>;
  /** What containers and pods run from, now. */
  inUse(): Promise<InUse>;
  systemd(): Promise<SystemdClient>;
  apps(): Promise<Apps>;
  /** Images as containers get them: from the store, or fetched. */
  images(): Promise<ImageAccess>;
  machines(): Promise<Machines>;
  /** Gives SIGINT, SIGTERM and SIGHUP to the command instead of aborting it. */
  takeSignals(handler: (signal: NodeJS.Signals) => void): void;
}
