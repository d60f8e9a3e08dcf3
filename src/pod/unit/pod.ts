import type { HostStep } from '../../host/step.ts';
import { formatVersion, transientUnits } from '../../names.ts';
import { description } from '../../systemd/escape.ts';
import type { SystemdStep } from '../../systemd/executors.ts';
import { renderUnit, section, unitFile } from '../../systemd/unit-file.ts';
import { limitLines, type Resources } from './limits.ts';
import { anchorOf, classSlice, type PodIdentity, type QosClass, sliceOf, targetOf, unitOf } from './names.ts';

/** The units of a pod as a whole: the slice that its containers are in, and the target that keeps them loaded. */

export interface PodUnits {
  readonly pod: PodIdentity;
  readonly qos: QosClass;
  readonly resources: Resources;
  /** Of all kinds. */
  readonly containers: readonly string[];
  /** Whether they share a process namespace. */
  readonly anchor: boolean;
}

const titleOf = ({ namespace, name }: PodIdentity) => description(`Pod ${namespace}/${name}`);

const sliceText = ({ pod, resources }: PodUnits): string =>
  renderUnit(
    unitFile('Limits of a pod, written by spawnlet.', [
      section('Unit', [['Description', titleOf(pod)]]),
      section('Slice', limitLines(resources)),
    ]),
  );

/** The classes' slices have the same text for all pods: BestEffort gets what others leave. */
const classText = (qos: QosClass): string =>
  renderUnit(
    unitFile('Pods of a class of service, written by spawnlet.', [
      section('Unit', [['Description', qos === 'Guaranteed' ? 'Pods' : `Pods of the class ${qos}`]]),
      section('Slice', qos === 'BestEffort' ? [['CPUWeight', '1']] : []),
    ]),
  );

/**
 * systemd forgets a service that has ended, its exit code and run with it, unless a unit that is up names it. A stop of the
 * target stops them all.
 */
const targetText = ({ pod, containers, anchor }: PodUnits): string =>
  renderUnit(
    unitFile('A pod, made by spawnlet.', [
      section('Unit', [
        ['Description', titleOf(pod)],
        ...containers.map(name => ['PropagatesStopTo', unitOf(pod, name)] as const),
        ...(anchor ? [['PropagatesStopTo', anchorOf(pod)] as const] : []),
      ]),
      section('X-Spawnlet', [
        ['FormatVersion', String(formatVersion)],
        ['Namespace', pod.namespace],
        ['Name', pod.name],
        ['UID', pod.uid],
      ]),
    ]),
  );

const unitFileStep = (name: string, content: string): HostStep => ({
  do: 'write-file',
  path: `${transientUnits}/${name}`,
  content,
  mode: 0o644,
});

/** Slices and target are there, the target up. */
export function podUnitSteps(units: PodUnits): (HostStep | SystemdStep)[] {
  const { pod, qos } = units;
  const classes: QosClass[] = qos === 'Guaranteed' ? ['Guaranteed'] : ['Guaranteed', qos];
  return [
    ...classes.map(each => unitFileStep(`${classSlice(each)}.slice`, classText(each))),
    unitFileStep(sliceOf(pod, qos), sliceText(units)),
    unitFileStep(targetOf(pod), targetText(units)),
    { do: 'start-unit', name: targetOf(pod) },
  ];
}

/** Where systemd notes properties that were set for this boot. */
const changedProperties = '/run/systemd/system.control';

/** All units of a pod are down, and their files gone. The classes' slices stay. */
export function podUnitRemoval({ pod, qos, containers }: PodUnits): (HostStep | SystemdStep)[] {
  const services = containers.map(name => unitOf(pod, name));
  const own = [targetOf(pod), sliceOf(pod, qos)];
  return [
    ...services.map(name => ({ do: 'kill-unit', name }) as const),
    { do: 'stop-unit', name: targetOf(pod) },
    { do: 'stop-unit', name: sliceOf(pod, qos) },
    ...[...services, ...own].map(name => ({ do: 'remove', path: `${transientUnits}/${name}` }) as const),
    // What a change of resources has set while they ran.
    ...[...services, ...own].map(name => ({ do: 'remove', path: `${changedProperties}/${name}.d` }) as const),
    ...services.map(name => ({ do: 'reset-failed-unit', name }) as const),
  ];
}
