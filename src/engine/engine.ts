import type { Bundle } from './bundle.ts';
import type { ContainerSpec } from './container.ts';
import type { EngineLines } from './unit.ts';

/** How a container is run, as far as it concerns the engine. */
export interface Way {
  readonly removeAfterwards: boolean;
  /** Whether systemd-machined is told of it. */
  readonly register: boolean;
  /** Whether files say that it has begun, and which its first process is: for who comes into it later. */
  readonly isTold?: true;
}

/** Who runs a bundle: what differs between engines, as functions of the same specification. */
export interface Engine {
  /** What has to be installed. */
  readonly programs: readonly string[];
  /** What of the specification the engine cannot do, as a flag and what to use instead. */
  refuse(spec: ContainerSpec): { readonly flag: string; readonly hint: string } | undefined;
  bundle(spec: ContainerSpec, annotations: Readonly<Record<string, string>>): Bundle;
  /** What ExecStart= runs. */
  startScript(spec: ContainerSpec, way: Way): string;
  /** What runs when the container has ended. */
  stoppedScript(spec: ContainerSpec, way: Way): string;
  /** What runs when it has begun, where it is told and the start script cannot tell. */
  begunScript?(spec: ContainerSpec): string;
  lines(spec: ContainerSpec, way: Way): EngineLines;
  /** Names of FIFOs through which the streams of an attached run go; none if they go through conmon. */
  fifos(stdin: boolean): readonly string[];
}
