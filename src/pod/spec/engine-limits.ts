/** What an engine cannot give to a pod that another can: refused at admission, by name. */
import { fieldsOf, type PodSpec, type TypeName, type ValueType } from '../api/kubernetes.ts';
import type { Mistake, Path } from './path.ts';

/** Handlers of runtime classes: who runs the containers of a pod. */
export const podEngines = ['crun', 'nspawn', 'host'] as const;
export type PodEngine = (typeof podEngines)[number];

export interface EngineLimit {
  readonly engine: PodEngine;
  /** `VolumeMount.mountPropagation` */
  readonly field: string;
  /** The value that is refused, as docs/podspec.md shows it. */
  readonly shown: string;
  refuses(value: unknown): boolean;
  readonly reason: string;
}

const isConfined = (value: unknown) => (value as { type?: string }).type !== 'Unconfined';
const isSome = (value: unknown) => Array.isArray(value) && value.length > 0;
const isDefaultProfile = (value: unknown) => (value as { type?: string }).type === 'RuntimeDefault';
const noDefaultProfile = 'there is no default profile of AppArmor; one that the host has loaded is Localhost';
const noProfile = 'systemd-nspawn gives containers no profile of AppArmor';

/** Fields that Kubernetes has, and containers of pods do not have yet. */
const missing: readonly (readonly [
  field: string,
  shown: string,
  refuses: (value: unknown) => boolean,
  reason: string,
])[] = [
  ['PodSpec.runtimeClassName', 'but crun', value => value !== 'crun', 'crun runs the containers of all pods'],
  ['PodSecurityContext.seLinuxOptions', 'any', () => true, 'containers have no labels of SELinux'],
  ['SecurityContext.seLinuxOptions', 'any', () => true, 'containers have no labels of SELinux'],
  ['PodSecurityContext.appArmorProfile', 'RuntimeDefault', isDefaultProfile, noDefaultProfile],
  ['SecurityContext.appArmorProfile', 'RuntimeDefault', isDefaultProfile, noDefaultProfile],
  ['PodSecurityContext.windowsOptions', 'any', () => true, 'it names a user for the engine host'],
  ['SecurityContext.windowsOptions', 'any', () => true, 'it names a user for the engine host'],
];

export const engineLimits: readonly EngineLimit[] = [
  ...missing.map(([field, shown, refuses, reason]) => ({
    engine: 'crun' as const,
    field,
    shown,
    refuses,
    reason: `not there yet: ${reason}`,
  })),
  {
    engine: 'nspawn',
    field: 'VolumeMount.mountPropagation',
    shown: 'Bidirectional',
    refuses: value => value === 'Bidirectional',
    reason: 'systemd-nspawn lets no mount out of a container',
  },
  ...['PodSecurityContext', 'SecurityContext'].map(type => ({
    engine: 'nspawn' as const,
    field: `${type}.appArmorProfile`,
    shown: 'but Unconfined',
    refuses: isConfined,
    reason: noProfile,
  })),
  {
    engine: 'host',
    field: 'PodSpec.hostUsers',
    shown: 'false',
    refuses: value => value === false,
    reason: 'programs of the host run as users of the host',
  },
  {
    engine: 'host',
    field: 'PodSecurityContext.sysctls',
    shown: 'any',
    refuses: isSome,
    reason: 'programs of the host have the namespaces of the host, whose settings would change',
  },
];

/** What of a pod the engine refuses; none if it runs the pod. */
export function refusedBy(engine: PodEngine, spec: PodSpec): readonly Mistake[] {
  const limits = engineLimits.filter(limit => limit.engine === engine);
  return [...refusedIn(limits, spec, 'PodSpec', ['spec'])];
}

function* refusedIn(
  limits: readonly EngineLimit[],
  object: object,
  type: TypeName,
  path: Path,
): Generator<Mistake> {
  for (const [name, value] of Object.entries(object)) {
    const field = fieldsOf(type).get(name);
    if (field === undefined || value === undefined) continue;
    const limit = limits.find(each => each.field === `${type}.${name}` && each.refuses(value));
    if (limit) {
      yield {
        path: [...path, name],
        text: `is not supported by the engine ${limit.engine}: ${limit.reason}`,
      };
    } else yield* refusedBelow(limits, value, field.type, [...path, name]);
  }
}

function* refusedBelow(
  limits: readonly EngineLimit[],
  value: unknown,
  type: ValueType,
  path: Path,
): Generator<Mistake> {
  if (type.kind === 'object') yield* refusedIn(limits, value as object, type.type, path);
  else if (type.kind === 'list' && Array.isArray(value))
    for (const [index, item] of value.entries()) yield* refusedBelow(limits, item, type.of, [...path, index]);
}
