import type { ChildProcess, SpawnOptions } from 'node:child_process';
import type { ExecEnd, ProcessSpec } from '../../engine/exec.ts';
import type { Host } from '../../host/host.ts';
import type { JournalSource } from '../../systemd/journal.ts';
import type { Pod } from '../api/kubernetes.ts';
import { type PodEngine, podEngineOf } from '../spec/engine-limits.ts';
import type { PodIdentity } from '../unit/names.ts';
import type { PodStep, WorkerDependencies } from './dependencies.ts';
import { hostContainers } from './host-run.ts';
import { crunContainers, nspawnContainers } from './run.ts';
import type { RunRequest } from './run-request.ts';

/** A run of a container that is ready to begin, but for its steps. */
export interface PreparedRun {
  readonly steps: readonly PodStep[];
  /** What it is called where it comes from, and its ID. */
  readonly image: string;
  readonly imageID: string;
  /** Keeps what it is made of from being removed, until the unit is there. */
  hold(signal: AbortSignal): Promise<AsyncDisposable>;
  /** Called when it runs. */
  begun(): Promise<void>;
}

/** Who runs the containers of a pod: what differs. All of them are units, and leave the same traces of their runs. */
export interface ContainerEngine {
  /** Fetches what the image names, and decides everything that a run is made of. */
  prepare(deps: WorkerDependencies, request: RunRequest, signal: AbortSignal): Promise<PreparedRun>;
  /** Runs a command in a container that runs. */
  exec(
    host: Host,
    container: Contained,
    process: ProcessSpec,
    stdio: SpawnOptions['stdio'],
    begun?: (child: ChildProcess) => void,
    signal?: AbortSignal,
  ): Promise<ExecEnd>;
  /** The file that says which is the first process of a container that runs. */
  pidFileOf(container: Contained): string;
  /** Where its journal has what a run wrote. */
  logOf(container: Contained, invocation: string): JournalSource;
}

/** Which container. */
export interface Contained {
  readonly identity: PodIdentity;
  readonly name: string;
}

const engines: Readonly<Record<PodEngine, ContainerEngine>> = {
  crun: crunContainers,
  nspawn: nspawnContainers,
  host: hostContainers,
};

/** Who runs a pod: its runtime class says so, which is written into it where the node's default is another one than crun. */
export const engineOf = ({ spec }: Pod): ContainerEngine => engines[podEngineOf(spec)];
