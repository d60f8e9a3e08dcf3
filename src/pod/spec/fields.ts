/**
 * What becomes of each field of a pod and of the other objects of manifests, by the API's types. A test compares this with the API's own list of fields, so that
 * none is forgotten; docs/podspec.md tells the same to people.
 */
import { fieldsOf, type TypeName, type ValueType } from '../api/kubernetes.ts';

export type Support =
  | { readonly kind: 'works' }
  /** For whoever placed the pod or keeps the object: the node takes it and does nothing. */
  | { readonly kind: 'elsewhere' }
  | { readonly kind: 'refused'; readonly reason: string };

type Table = { readonly [T in TypeName]?: string };

/** Fields that do in a container what the API says. */
export const working: Table = {
  PodSpec: `activeDeadlineSeconds automountServiceAccountToken containers dnsConfig dnsPolicy enableServiceLinks
    ephemeralContainers hostAliases hostIPC hostNetwork hostPID hostUsers hostname hostnameOverride imagePullSecrets
    initContainers os overhead priority readinessGates resources restartPolicy runtimeClassName securityContext
    serviceAccount serviceAccountName setHostnameAsFQDN shareProcessNamespace subdomain terminationGracePeriodSeconds
    volumes`,
  Container: `args command env envFrom image imagePullPolicy lifecycle livenessProbe name ports readinessProbe resizePolicy
    resources restartPolicy restartPolicyRules securityContext startupProbe stdin stdinOnce terminationMessagePath
    terminationMessagePolicy tty volumeMounts workingDir`,
  EphemeralContainer: `args command env envFrom image imagePullPolicy lifecycle livenessProbe name ports readinessProbe
    resizePolicy resources restartPolicy restartPolicyRules securityContext startupProbe stdin stdinOnce
    targetContainerName terminationMessagePath terminationMessagePolicy tty volumeMounts workingDir`,
  ContainerPort: 'containerPort hostIP hostPort name protocol',
  ContainerResizePolicy: 'resourceName restartPolicy',
  ContainerRestartRule: 'action exitCodes',
  ContainerRestartRuleOnExitCodes: 'operator values',
  ResourceRequirements: 'limits requests',
  EnvVar: 'name value valueFrom',
  EnvVarSource: 'configMapKeyRef fieldRef fileKeyRef resourceFieldRef secretKeyRef',
  EnvFromSource: 'configMapRef prefix secretRef',
  ConfigMapEnvSource: 'name optional',
  SecretEnvSource: 'name optional',
  ConfigMapKeySelector: 'key name optional',
  SecretKeySelector: 'key name optional',
  ObjectFieldSelector: 'apiVersion fieldPath',
  ResourceFieldSelector: 'containerName divisor resource',
  FileKeySelector: 'key optional path volumeName',
  Lifecycle: 'postStart preStop stopSignal',
  LifecycleHandler: 'exec httpGet sleep tcpSocket',
  Probe: `exec failureThreshold grpc httpGet initialDelaySeconds periodSeconds successThreshold tcpSocket
    terminationGracePeriodSeconds timeoutSeconds`,
  ExecAction: 'command',
  GRPCAction: 'port service',
  HTTPGetAction: 'host httpHeaders path port scheme',
  HTTPHeader: 'name value',
  SleepAction: 'seconds',
  TCPSocketAction: 'host port',
  VolumeMount: 'mountPath mountPropagation name readOnly recursiveReadOnly subPath subPathExpr',
  Volume:
    'configMap downwardAPI emptyDir ephemeral hostPath image name nfs persistentVolumeClaim projected secret',
  ConfigMapVolumeSource: 'defaultMode items name optional',
  SecretVolumeSource: 'defaultMode items optional secretName',
  KeyToPath: 'key mode path',
  DownwardAPIVolumeSource: 'defaultMode items',
  DownwardAPIVolumeFile: 'fieldRef mode path resourceFieldRef',
  EmptyDirVolumeSource: 'medium sizeLimit',
  EphemeralVolumeSource: 'volumeClaimTemplate',
  HostPathVolumeSource: 'path type',
  ImageVolumeSource: 'pullPolicy reference',
  NFSVolumeSource: 'path readOnly server',
  PersistentVolumeClaimVolumeSource: 'claimName readOnly',
  ProjectedVolumeSource: 'defaultMode sources',
  VolumeProjection: 'configMap downwardAPI secret serviceAccountToken',
  ConfigMapProjection: 'items name optional',
  SecretProjection: 'items name optional',
  DownwardAPIProjection: 'items',
  ServiceAccountTokenProjection: 'audience expirationSeconds path',
  PersistentVolumeClaimTemplate: 'metadata spec',
  PersistentVolumeClaimSpec: 'accessModes resources volumeMode',
  VolumeResourceRequirements: 'limits requests',
  ObjectMeta: 'annotations labels name namespace',
  PodSecurityContext: `appArmorProfile fsGroup fsGroupChangePolicy runAsGroup runAsNonRoot runAsUser seLinuxChangePolicy
    seLinuxOptions seccompProfile supplementalGroups supplementalGroupsPolicy sysctls windowsOptions`,
  SecurityContext: `allowPrivilegeEscalation appArmorProfile capabilities privileged procMount readOnlyRootFilesystem
    runAsGroup runAsNonRoot runAsUser seLinuxOptions seccompProfile windowsOptions`,
  AppArmorProfile: 'localhostProfile type',
  Capabilities: 'add drop',
  SELinuxOptions: 'level role type user',
  SeccompProfile: 'localhostProfile type',
  Sysctl: 'name value',
  WindowsSecurityContextOptions: 'runAsUserName',
  HostAlias: 'hostnames ip',
  PodDNSConfig: 'nameservers options searches',
  PodDNSConfigOption: 'name value',
  LocalObjectReference: 'name',
  PodOS: 'name',
  PodReadinessGate: 'conditionType',
  Pod: 'apiVersion kind metadata spec',
  PodTemplateSpec: 'metadata spec',
  Deployment: 'apiVersion kind metadata spec',
  DeploymentSpec: 'replicas selector template',
  DaemonSet: 'apiVersion kind metadata spec',
  DaemonSetSpec: 'selector template',
  StatefulSet: 'apiVersion kind metadata spec',
  StatefulSetSpec: `ordinals persistentVolumeClaimRetentionPolicy replicas selector serviceName template
    volumeClaimTemplates`,
  StatefulSetOrdinals: 'start',
  StatefulSetPersistentVolumeClaimRetentionPolicy: 'whenDeleted whenScaled',
  Job: 'apiVersion kind metadata spec',
  JobSpec: 'activeDeadlineSeconds completionMode completions parallelism selector suspend template',
  LabelSelector: 'matchExpressions matchLabels',
  LabelSelectorRequirement: 'key operator values',
  ConfigMap: 'apiVersion binaryData data immutable kind metadata',
  Secret: 'apiVersion data immutable kind metadata stringData type',
  PersistentVolumeClaim: 'apiVersion kind metadata spec',
};

/** Fields that a scheduler or an API server answers to. */
export const elsewhere: Table = {
  PodSpec: `affinity nodeName nodeSelector preemptionPolicy priorityClassName schedulerName schedulingGroup tolerations
    topologySpreadConstraints`,
  Pod: 'status',
  Deployment: 'status',
  DeploymentSpec: 'minReadySeconds paused progressDeadlineSeconds revisionHistoryLimit strategy',
  DaemonSet: 'status',
  DaemonSetSpec: 'minReadySeconds revisionHistoryLimit updateStrategy',
  StatefulSet: 'status',
  StatefulSetSpec: 'minReadySeconds podManagementPolicy revisionHistoryLimit updateStrategy',
  Job: 'status',
  JobSpec: 'backoffLimit manualSelector podReplacementPolicy ttlSecondsAfterFinished',
  PersistentVolumeClaim: 'status',
  PersistentVolumeClaimSpec: 'storageClassName',
  ObjectMeta: `creationTimestamp deletionGracePeriodSeconds deletionTimestamp finalizers generateName generation
    managedFields ownerReferences resourceVersion selfLink uid`,
};

const driver = "needs a storage driver: mount it on the host, and use hostPath or a claim's directory";
const drivers =
  `awsElasticBlockStore azureDisk azureFile cephfs cinder csi fc flexVolume flocker gcePersistentDisk glusterfs
  iscsi photonPersistentDisk portworxVolume quobyte rbd scaleIO storageos vsphereVolume`.split(/\s+/);
const device = 'needs a driver of devices, which does not run here';
const certificates = 'needs an API of Kubernetes that is off unless a cluster turns it on';
const windows = 'is for Windows';
const rules = 'needs a controller that makes pods anew';
const claim = 'a claim is an empty directory here, and not made of something else';

/** Fields that are refused wherever they are set, with the reason. */
export const refused: { readonly [T in TypeName]?: { readonly [field: string]: string } } = {
  PodSpec: {
    resourceClaims: device,
    schedulingGates: 'nobody opens the gate of a pod that is on its node',
  },
  Container: { volumeDevices: 'a claim is a directory here, never a block device' },
  EphemeralContainer: { volumeDevices: 'a claim is a directory here, never a block device' },
  ResourceRequirements: { claims: device },
  Volume: {
    ...Object.fromEntries(drivers.map(field => [field, driver])),
    gitRepo: 'Kubernetes has taken it away: clone in an init container, into an emptyDir',
  },
  VolumeProjection: { clusterTrustBundle: certificates, podCertificate: certificates },
  PersistentVolumeClaimSpec: {
    dataSource: claim,
    dataSourceRef: claim,
    selector: claim,
    volumeAttributesClassName: driver,
    volumeName: claim,
  },
  JobSpec: {
    backoffLimitPerIndex: rules,
    managedBy: rules,
    maxFailedIndexes: rules,
    podFailurePolicy: rules,
    successPolicy: rules,
  },
  WindowsSecurityContextOptions: {
    gmsaCredentialSpec: windows,
    gmsaCredentialSpecName: windows,
    hostProcess: windows,
  },
};

const supports = new Map<TypeName, ReadonlyMap<string, Support>>();

/** What becomes of a field; works for those of types that are in no manifest. */
export function supportOf(type: TypeName, field: string): Support {
  let known = supports.get(type);
  if (known === undefined) {
    const each = (table: Table, kind: 'works' | 'elsewhere') =>
      (table[type] ?? '').split(/\s+/).map(name => [name, { kind }] as const);
    const no = Object.entries(refused[type] ?? {}).map(
      ([name, reason]) => [name, { kind: 'refused', reason }] as const,
    );
    known = new Map<string, Support>([...each(working, 'works'), ...each(elsewhere, 'elsewhere'), ...no]);
    supports.set(type, known);
  }
  return known.get(field) ?? { kind: 'works' };
}

/** Types that a field of this type is made of. */
export function typesIn(type: ValueType): TypeName | undefined {
  if (type.kind === 'object') return type.type;
  return type.kind === 'scalar' ? undefined : typesIn(type.of);
}

/** Every place in a pod's specification with what becomes of it: `containers[].env[].name`. Nothing below what has no effect. */
export function* fieldPaths(type: TypeName = 'PodSpec', prefix = ''): Generator<readonly [string, Support]> {
  for (const [name, field] of fieldsOf(type)) {
    const support = supportOf(type, name);
    const path = `${prefix}${name}`;
    yield [path, support];
    const inner = support.kind === 'works' ? typesIn(field.type) : undefined;
    if (inner)
      yield* fieldPaths(
        inner,
        `${path}${{ list: '[]', map: '{}', object: '', scalar: '' }[field.type.kind]}.`,
      );
  }
}
