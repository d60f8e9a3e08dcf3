import type { ContainerSpec } from '../../engine/container.ts';
import { runDirectories } from '../../engine/script.ts';
import type { EngineLines } from '../../engine/unit.ts';
import { deviceLines } from '../../engine/unit.ts';
import { formatVersion, logNamespace } from '../../names.ts';
import { description, execLine } from '../../systemd/escape.ts';
import { renderUnit, section, unitFile } from '../../systemd/unit-file.ts';
import { limitLines, type Resources } from './limits.ts';
import { anchorOf, type PodIdentity, type QosClass, sliceOf, targetOf } from './names.ts';

type Assignment = readonly [key: string, value: string];

export interface ContainerUnit {
  readonly pod: PodIdentity;
  readonly qos: QosClass;
  readonly container: string;
  readonly image: string;
  readonly resources: Resources;
  readonly engine: string;
  /** Whether it has the processes of the pod's anchor. */
  readonly joinsProcesses: boolean;
}

/** `[Service]` of a container that is a bundle. */
export const bundleServiceLines = (spec: ContainerSpec, lines: EngineLines): Assignment[] => [
  ['ExecStart', execLine(['/bin/bash', `${spec.directory}/start`])],
  ...(lines.stopped
    ? ([['ExecStopPost', execLine(['/bin/bash', `${spec.directory}/stopped`], '+')]] as const)
    : []),
  ['KillMode', 'mixed'],
  ...lines.stop,
  ['TimeoutStopSec', String(Math.max(1, spec.stopTimeout))],
  ['PrivateMounts', 'yes'],
  ...runDirectories(spec),
  ['LogNamespace', logNamespace],
  ...deviceLines(spec),
  ...lines.more,
];

/**
 * The unit of a container of a pod. It is written once: what changes from run to run lies beside it. Whether and when it runs
 * again, spawnlet's agent decides; it also ends a container whose grace period was made shorter than `TimeoutStopSec`.
 *
 * @param service of the engine
 */
export function containerUnit(unit: ContainerUnit, service: readonly Assignment[]): string {
  const { pod, qos, container, image, resources, engine } = unit;
  return renderUnit(
    unitFile(`A container of pod ${pod.namespace}/${pod.name}, made by spawnlet.`, [
      section('Unit', [
        ['Description', description(`${container} of pod ${pod.namespace}/${pod.name} (${image})`)],
        ['PartOf', targetOf(pod)],
        // It ends after them, and is there again if it was killed.
        ...(unit.joinsProcesses
          ? (['Requires', 'After'] as const).map(key => [key, anchorOf(pod)] as const)
          : []),
        ['StartLimitIntervalSec', '0'],
      ]),
      section('Service', [['Slice', sliceOf(pod, qos)], ...service, ...limitLines(resources)]),
      section('X-Spawnlet', [
        ['FormatVersion', String(formatVersion)],
        ['Namespace', pod.namespace],
        ['Pod', pod.name],
        ['UID', pod.uid],
        ['Container', container],
        ['Engine', engine],
      ]),
    ]),
  );
}
