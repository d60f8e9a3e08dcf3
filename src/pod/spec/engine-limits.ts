/** What an engine cannot give to a pod that another can: refused at admission, by name. */
import {
  fieldsOf,
  type PodSpec,
  type SecurityContext,
  type TypeName,
  type ValueType,
} from '../api/kubernetes.ts';
import type { Mistake, Path } from './path.ts';

/** Handlers of runtime classes: who runs the containers of a pod. */
export const podEngines = ['crun', 'nspawn', 'host'] as const;
export type PodEngine = (typeof podEngines)[number];

/** Who runs a pod. @param fallback for one that names nobody */
export const podEngineOf = (
  spec: Pick<PodSpec, 'runtimeClassName'> | undefined,
  fallback: PodEngine = 'crun',
): PodEngine => podEngines.find(engine => engine === spec?.runtimeClassName) ?? fallback;

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

const isForeign = (value: unknown) => podEngines.every(engine => engine !== value);
const isTrue = (value: unknown) => value === true;

const engineNames = podEngines.join(', ');

/** Fields that Kubernetes has, and containers of pods do not have yet. */
const missing: readonly (readonly [
  field: string,
  shown: string,
  refuses: (value: unknown) => boolean,
  reason: string,
])[] = [
  ['PodSpec.runtimeClassName', `but ${engineNames}`, isForeign, 'no other engine runs pods'],
  ['PodSecurityContext.seLinuxOptions', 'any', () => true, 'containers have no labels of SELinux'],
  ['SecurityContext.seLinuxOptions', 'any', () => true, 'containers have no labels of SELinux'],
  ['PodSecurityContext.appArmorProfile', 'RuntimeDefault', isDefaultProfile, noDefaultProfile],
  ['SecurityContext.appArmorProfile', 'RuntimeDefault', isDefaultProfile, noDefaultProfile],
  ['PodSecurityContext.windowsOptions', 'any', () => true, 'it names a user for the engine host'],
  ['SecurityContext.windowsOptions', 'any', () => true, 'it names a user for the engine host'],
];

const isLocal = (value: unknown) => (value as { type?: string }).type === 'Localhost';
const ofHost = 'programs of the host';

/** What programs of the host cannot be given. */
const hostLimits: typeof missing = [
  ['PodSpec.hostUsers', 'false', value => value === false, `${ofHost} run as users of the host`],
  [
    'PodSecurityContext.sysctls',
    'any',
    isSome,
    `${ofHost} have the namespaces of the host, whose settings would change`,
  ],
  ['PodSpec.hostname', 'any', () => true, `${ofHost} have the name of the host`],
  ['PodSpec.hostnameOverride', 'any', () => true, `${ofHost} have the name of the host`],
  ['PodSpec.setHostnameAsFQDN', 'true', isTrue, `${ofHost} have the name of the host`],
  ['PodSpec.shareProcessNamespace', 'true', isTrue, `${ofHost} have the processes of the host`],
  ['PodSpec.runtimeClassName', `but ${engineNames}`, isForeign, 'no other engine runs pods'],
  ['PodSpec.imagePullSecrets', 'any', isSome, 'package managers have their own credentials'],
  ...['PodSecurityContext', 'SecurityContext'].flatMap(type => [
    [`${type}.seLinuxOptions`, 'any', () => true, 'not there yet: no labels of SELinux are set'] as const,
    [
      `${type}.appArmorProfile`,
      'but Unconfined',
      isConfined,
      'not there yet: no profile of AppArmor is set',
    ] as const,
    [
      `${type}.seccompProfile`,
      'Localhost',
      isLocal,
      'systemd has lists of system calls, and reads no profile',
    ] as const,
  ]),
  [
    'PodSecurityContext.supplementalGroupsPolicy',
    'Strict',
    value => value === 'Strict',
    'systemd gives a user all of his groups',
  ],
  ['SecurityContext.readOnlyRootFilesystem', 'false', value => value === false, `${ofHost} see it read-only`],
  [
    'VolumeMount.mountPropagation',
    'Bidirectional',
    value => value === 'Bidirectional',
    'systemd lets no mount out of a unit',
  ],
  ['Container.stdin', 'true', isTrue, 'a unit has no standard input'],
  ['Container.stdinOnce', 'true', isTrue, 'a unit has no standard input'],
  ['Container.tty', 'true', isTrue, 'a unit has no terminal'],
  ['Container.resizePolicy', 'any', isSome, 'not there yet: resources change without a restart'],
];

/** nspawn has libseccomp load its filters, which is not asked to do without no_new_privs. */
const growsFiltered = (value: unknown) => {
  const { allowPrivilegeEscalation, privileged, seccompProfile } = value as SecurityContext;
  return allowPrivilegeEscalation === true && !privileged && seccompProfile?.type !== 'Unconfined';
};

/** What systemd-nspawn cannot give. */
const nspawnLimits: typeof missing = [
  ['PodSpec.runtimeClassName', `but ${engineNames}`, isForeign, 'no other engine runs pods'],
  [
    'PodSpec.hostUsers',
    'false',
    value => value === false,
    'systemd-nspawn makes users of its own, and joins no others',
  ],
  [
    'PodSpec.shareProcessNamespace',
    'true',
    isTrue,
    'systemd-nspawn joins no process namespace, unless it is in it itself, with all that it may do',
  ],
  [
    'VolumeMount.mountPropagation',
    'Bidirectional',
    value => value === 'Bidirectional',
    'systemd-nspawn lets no mount out of a container',
  ],
  ...['Container', 'EphemeralContainer'].map(
    type =>
      [
        `${type}.securityContext`,
        'allowPrivilegeEscalation: true, but where privileged or without a filter',
        growsFiltered,
        'with a filter of system calls systemd-nspawn lets no privileges grow',
      ] as const,
  ),
  ['Container.tty', 'true', isTrue, 'not there yet: a terminal'],
  ...['PodSecurityContext', 'SecurityContext'].flatMap(type => [
    [`${type}.appArmorProfile`, 'but Unconfined', isConfined, noProfile] as const,
    [`${type}.seLinuxOptions`, 'any', () => true, 'not there yet: no labels of SELinux are set'] as const,
    [`${type}.windowsOptions`, 'any', () => true, 'it names a user for the engine host'] as const,
  ]),
];

export const engineLimits: readonly EngineLimit[] = [
  ...missing.map(([field, shown, refuses, reason]) => ({
    engine: 'crun' as const,
    field,
    shown,
    refuses,
    reason: `not there yet: ${reason}`,
  })),
  ...nspawnLimits.map(([field, shown, refuses, reason]) => ({
    engine: 'nspawn' as const,
    field,
    shown,
    refuses,
    reason,
  })),
  ...hostLimits.map(([field, shown, refuses, reason]) => ({
    engine: 'host' as const,
    field,
    shown,
    refuses,
    reason,
  })),
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
