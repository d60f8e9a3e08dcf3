/** Fields that take one of a few words, by type and name. */

const conditions = ['In', 'NotIn', 'Exists', 'DoesNotExist'];
const pullPolicies = ['Always', 'IfNotPresent', 'Never'];
const restartPolicies = ['Always', 'OnFailure', 'Never'];
const profiles = ['RuntimeDefault', 'Unconfined', 'Localhost'];
const accessModes = ['ReadWriteOnce', 'ReadOnlyMany', 'ReadWriteMany', 'ReadWriteOncePod'];
const hostPathTypes = [
  'DirectoryOrCreate',
  'Directory',
  'FileOrCreate',
  'File',
  'Socket',
  'CharDevice',
  'BlockDevice',
];
const inclusion = ['Honor', 'Ignore'];

const enumerations = new Map<string, readonly string[]>(
  Object.entries({
    'PodSpec.dnsPolicy': ['ClusterFirst', 'ClusterFirstWithHostNet', 'Default', 'None'],
    'PodSpec.restartPolicy': restartPolicies,
    'PodSpec.preemptionPolicy': ['PreemptLowerPriority', 'Never'],
    'PodOS.name': ['linux', 'windows'],
    'PodSecurityContext.fsGroupChangePolicy': ['OnRootMismatch', 'Always'],
    'PodSecurityContext.supplementalGroupsPolicy': ['Merge', 'Strict'],
    'PodSecurityContext.seLinuxChangePolicy': ['MountOption', 'Recursive'],
    'SecurityContext.procMount': ['Default', 'Unmasked'],
    'SeccompProfile.type': profiles,
    'AppArmorProfile.type': profiles,
    'Container.imagePullPolicy': pullPolicies,
    'Container.restartPolicy': restartPolicies,
    'Container.terminationMessagePolicy': ['File', 'FallbackToLogsOnError'],
    'ImageVolumeSource.pullPolicy': pullPolicies,
    'ContainerPort.protocol': ['TCP', 'UDP', 'SCTP'],
    'ContainerResizePolicy.resourceName': ['cpu', 'memory'],
    'ContainerResizePolicy.restartPolicy': ['NotRequired', 'RestartContainer'],
    'ContainerRestartRule.action': ['Restart', 'RestartAllContainers'],
    'ContainerRestartRuleOnExitCodes.operator': ['In', 'NotIn'],
    'HTTPGetAction.scheme': ['HTTP', 'HTTPS'],
    'ObjectFieldSelector.apiVersion': ['v1'],
    'HostPathVolumeSource.type': hostPathTypes,
    'VolumeMount.mountPropagation': ['None', 'HostToContainer', 'Bidirectional'],
    'VolumeMount.recursiveReadOnly': ['Disabled', 'IfPossible', 'Enabled'],
    'PersistentVolumeClaimSpec.accessModes': accessModes,
    'PersistentVolumeClaimSpec.volumeMode': ['Filesystem', 'Block'],
    'Toleration.effect': ['NoSchedule', 'PreferNoSchedule', 'NoExecute'],
    'Toleration.operator': ['Exists', 'Equal', 'Lt', 'Gt'],
    'LabelSelectorRequirement.operator': conditions,
    'NodeSelectorRequirement.operator': [...conditions, 'Gt', 'Lt'],
    'TopologySpreadConstraint.whenUnsatisfiable': ['DoNotSchedule', 'ScheduleAnyway'],
    'TopologySpreadConstraint.nodeAffinityPolicy': inclusion,
    'TopologySpreadConstraint.nodeTaintsPolicy': inclusion,
    'StatefulSetSpec.podManagementPolicy': ['OrderedReady', 'Parallel'],
    'StatefulSetPersistentVolumeClaimRetentionPolicy.whenDeleted': ['Retain', 'Delete'],
    'StatefulSetPersistentVolumeClaimRetentionPolicy.whenScaled': ['Retain', 'Delete'],
    'DeploymentStrategy.type': ['Recreate', 'RollingUpdate'],
    'DaemonSetUpdateStrategy.type': ['RollingUpdate', 'OnDelete'],
    'StatefulSetUpdateStrategy.type': ['RollingUpdate', 'OnDelete'],
    'JobSpec.completionMode': ['NonIndexed', 'Indexed'],
    'JobSpec.podReplacementPolicy': ['TerminatingOrFailed', 'Failed'],
  }),
);

/** The words that a field takes, or the items of its list; undefined if it takes any. */
export function wordsOf(type: string, field: string): readonly string[] | undefined {
  return enumerations.get(`${type === 'EphemeralContainer' ? 'Container' : type}.${field}`);
}

/** The fields that have words, for the test that compares them with the API's. */
export const wordFields = () => enumerations.keys();
