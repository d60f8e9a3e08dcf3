import type { Bundle } from './bundle.ts';
import type { ContainerSpec } from './container.ts';
import type { EngineLines } from './unit.ts';

/** Who runs a bundle: what differs between engines, as functions of the same specification. */
export interface Engine {
  /** What of the specification the engine cannot do, as a flag and what to use instead. */
  refuse(spec: ContainerSpec): { readonly flag: string; readonly hint: string } | undefined;
  bundle(spec: ContainerSpec, annotations: Readonly<Record<string, string>>): Bundle;
  /** What ExecStart= runs. `register`: with systemd-machined. */
  startScript(spec: ContainerSpec, register: boolean): string;
  /** What ExecStopPost= runs. */
  stoppedScript(spec: ContainerSpec, removeAfterwards: boolean): string;
  lines(spec: ContainerSpec, register: boolean): EngineLines;
  /** Names of FIFOs through which the streams of an attached run go; none if they go through conmon. */
  fifos(stdin: boolean): readonly string[];
}
