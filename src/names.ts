/**
 * Every name and place that spawnlet uses on a host: one module, so that `rm`, the docs and the tests
 * agree with what was written.
 */

/** All state that outlives a boot; 0700, so that no set-id file of an image can be reached by a user. */
export const stateDirectory = '/var/lib/spawnlet';

/** All state of this boot: locks, runtime files of containers. */
export const runtimeDirectory = '/run/spawnlet';

/** The image store: an OCI image layout (`index.json`, `blobs/`), the layers unpacked in {@link layersDirectory}. */
export const storeDirectory = stateDirectory;

/** Unpacked layers, named by 12 hex digits or more: overlayfs takes its options in one page of 4,096 bytes. */
export const layersDirectory = `${stateDirectory}/l`;

/** One directory per app: bundle, upper directory, record. */
export const appsDirectory = `${stateDirectory}/app`;

/** One directory per pod, named by its UID and 0700: what was decided of it, bundles, volumes, its network. */
export const podsDirectory = `${stateDirectory}/pods`;

/** Where the place of a pod in its network is recorded: see network/cni/record.ts. */
export const podNetworkRecord = (uid: string): string => `${podsDirectory}/${uid}/network`;

/** Directories of PersistentVolumeClaims, `NAMESPACE/NAME`; they stay when the pods go. */
export const claimsDirectory = `${stateDirectory}/volumes`;

/** Plans under way, one file each: what an interrupted command had begun. */
export const journalDirectory = `${stateDirectory}/journal`;

/** What the administrator sets: YAML. */
export const settingsFile = '/etc/spawnlet/config.yaml';

/** Roots of containers that have users of their own, who may pass here but not through {@link runtimeDirectory}. */
export const rootsDirectory = '/run/spawnlet-root';

export const lockDirectory = `${runtimeDirectory}/lock`;

/** Values of variables on their way to commands of `machine exec`, until those have begun. */
export const execDirectory = `${runtimeDirectory}/exec`;

/** Where units of the administrator lie; they are there after a boot. */
export const persistentUnits = '/etc/systemd/system';

/** Where units of this boot lie. */
export const transientUnits = '/run/systemd/system';

/** Where systemd looks for units of the system; systemd.unit(5). */
export const unitPath = [
  '/etc/systemd/system.control',
  '/run/systemd/system.control',
  '/run/systemd/transient',
  '/run/systemd/generator.early',
  persistentUnits,
  '/etc/systemd/system.attached',
  transientUnits,
  '/run/systemd/system.attached',
  '/run/systemd/generator',
  '/usr/local/lib/systemd/system',
  '/usr/lib/systemd/system',
  '/lib/systemd/system',
  '/run/systemd/generator.late',
];

/** The journal namespace of containers, so that none rotates the host's log away. */
export const logNamespace = 'spawnlet';

/** Version of the `[X-Spawnlet]` section and of the records beside it. */
export const formatVersion = 1;

/** Embedded systemd hosts: `trees/`, `labs/` and `networks/` below it. */
export const labDirectory = `${stateDirectory}/lab`;

/** Trees of machines, where machinectl finds them; a clone of a base is mounted here. */
export const machinesDirectory = '/var/lib/machines';

/** Settings of machines, by systemd-nspawn's own format; systemd.nspawn(5). */
export const nspawnSettings = '/etc/systemd/nspawn';

/** One directory per machine: its spec, what it changed since its base, snapshots. */
export const machineStateDirectory = `${stateDirectory}/machine`;

/** Read-only trees that machines are cloned from. */
export const basesDirectory = `${stateDirectory}/base`;

/** Rules and the script of the bridge that machines share, {@link persistentUnits} has its unit. */
export const natDirectory = `${stateDirectory}/network`;

/** The same of the bridge of the default CNI network, which goes with other users. */
export const cniDirectory = `${stateDirectory}/cni`;

/** Files of a pod that are gone with the boot, by its UID. */
export const podsRuntimeDirectory = `${runtimeDirectory}/pods`;

/** Packages that the engine `host` has installed, one file each: for what, and which units were masked for it. */
export const packagesDirectory = `${stateDirectory}/packages`;

/** Scripts, files and the log of the install that is under way. */
export const packagesRuntimeDirectory = `${runtimeDirectory}/packages`;

/** There is one of it: no two packages are installed at once. */
export const packageUnit = 'spawnlet-package.service';

/** What commands have to know of the agent that runs. */
export const agentSettingsFile = `${runtimeDirectory}/kubelet.json`;
