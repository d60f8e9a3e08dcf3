import { quoted } from '../host/shell.ts';
import { layersDirectory, rootsDirectory, runtimeDirectory, transientUnits } from '../names.ts';
import { type ContainerSpec, type Users, usersOfNamespace } from './container.ts';
import { shareScript } from './propagation.ts';

/** Parts of the scripts beside a bundle that all engines share. */

/** Where a namespace that has links is mounted, in the unit's own mount namespace: it is gone with the unit. */
export const netnsOf = (name: string): string => `${runDirectoryOf(name)}/netns`;

/** Where directories of runs are. */
export const runsDirectory = `${runtimeDirectory}/app`;

/** Files of one run: the unit's RuntimeDirectory=, which systemd removes when the unit has ended. */
export const runDirectoryOf = (name: string): string => `${runsDirectory}/${name}`;

/**
 * Where the unit mounts the image's layers, in its own mount namespace: on the host it is empty. It is a RuntimeDirectory=
 * of the unit, so that nobody has to unmount it before the container's directory can be removed.
 */
export const rootfsOf = ({ name, users }: Pick<ContainerSpec, 'name' | 'users'>): string =>
  users ? `${rootsDirectory}/${name}` : `${runDirectoryOf(name)}/rootfs`;

/** The unit's RuntimeDirectory=, and the mode of each. */
export const runDirectories = (
  spec: Pick<ContainerSpec, 'name' | 'users'>,
): readonly (readonly [string, string])[] => [
  [
    'RuntimeDirectory',
    [runDirectoryOf(spec.name), rootfsOf(spec)].map(path => path.slice('/run/'.length)).join(' '),
  ],
  ['RuntimeDirectoryMode', '0700'],
];

/** On the host's network its names hold, as they are at each start. Read by the shell itself: a child takes 1 ms. */
const hostNames = `for file in resolv.conf hosts; do
  if [ -e /etc/$file ]; then IFS= read -r -d '' text < /etc/$file || :; printf %s "$text" > $file; fi
done
[ -s hostname ] || echo "$HOSTNAME" > hostname
`;

/** A name of the container's own that the host does not know. */
const ownName = (hostname: string) => `printf '127.0.0.1\\t%s\\n' ${quoted(hostname)} >> hosts
`;

const hasHostNames = (spec: ContainerSpec) => spec.network === 'host' && !spec.namesGiven;

/** Highest first, as overlayfs wants it; an image without layers still needs one lower directory. */
const lowerDirectories = (spec: ContainerSpec): string =>
  spec.layers.length === 0 ? `${spec.directory}/empty` : spec.layers.toReversed().join(':');

/**
 * Mounts the image's layers in the unit's own mount namespace: nothing is on the host, nothing is left after a crash. The layers' paths are relative, since overlayfs takes no more than 4,096 bytes of options. Why a mount
 * failed is in the file `error`. The script goes on in the bundle's directory.
 */
export function mountScript(spec: ContainerSpec, engine: string): string {
  const { name, directory } = spec;
  return `#!/bin/bash
# Runs the container ${name}: mounts its image's layers, then hands over to ${engine}.
set -eu
${shareScript(spec, runDirectoryOf(name))}if [ -e ${runDirectoryOf(name)}/fifos ]; then
  cd ${runDirectoryOf(name)}
  read -r fifos < fifos
  mkfifo -m 600 $fifos
fi
cd ${directory}
${hasHostNames(spec) ? hostNames : ''}${hasHostNames(spec) && spec.hostname ? ownName(spec.hostname) : ''}${spec.users ? mapped(spec, spec.users) : `cd ${layersDirectory}\n`}mount -t overlay overlay -o lowerdir=${spec.users ? mappedLowers(spec) : lowerDirectories(spec)},upperdir=${directory}/upper,workdir=${directory}/work \\
  ${rootfsOf(spec)} 2> ${directory}/error || { cat ${directory}/error >&2; exit 1; }
cd ${directory}
${prepare(spec)}${makeNetns(spec)}`;
}

const lowersOf = ({ layers, directory }: ContainerSpec): readonly string[] =>
  layers.length === 0
    ? [`${directory}/empty`]
    : layers.toReversed().map(layer => `${layersDirectory}/${layer}`);

const mappedLowers = (spec: ContainerSpec): string => [...lowersOf(spec).keys()].join(':');

/** The layers as the container's own users see them: one mount more for each, since an overlay itself cannot be mapped. */
function mapped(spec: ContainerSpec, { first }: Users): string {
  const run = runDirectoryOf(spec.name);
  const map = `X-mount.idmap=b:0:${first}:${usersOfNamespace}`;
  const binds = lowersOf(spec).map(
    (path, at) => `mkdir ${run}/lower/${at}\nmount --bind -o ${map} ${path} ${run}/lower/${at}\n`,
  );
  const { directory } = spec;
  return `chown ${first}:${first} ${directory}/upper ${directory}/work\nmkdir ${run}/lower\n${binds.join('')}cd ${run}/lower\n`;
}

/** Its neighbours are no routers: what they advertise is not listened to. */
const deafToRouters = quoted(
  '[ ! -e /proc/sys/net/ipv6 ] || echo 0 > /proc/sys/net/ipv6/conf/default/accept_ra',
);

/** Makes the namespace of a container that has links, and the function that connects it, which says why if it cannot. */
function makeNetns({ name, network }: ContainerSpec): string {
  if (typeof network === 'string') return '';
  return `netns=${netnsOf(name)}
: > $netns
unshare --net=$netns sh -c ${deafToRouters}
connect() {
${network.connect}}
`;
}

export const disconnectScript = ({ network }: ContainerSpec): string =>
  typeof network === 'string' ? '' : network.disconnect;

/**
 * The content of volumes, copied out of the image, and a working directory that it does not have. Only before the program
 * has run for the first time: the paths are free of links in the image, but the program may put links there.
 */
function prepare({ name, directory, volumes, missingDirectory, users }: ContainerSpec): string {
  const rootfs = rootfsOf({ name, ...(users && { users }) });
  const own = (path: string) => (users ? ` && chown ${users.first}:${users.first} ${path}` : '');
  const steps = volumes.map(volume => {
    const made = quoted(volume.directory);
    const fresh = quoted(`${volume.directory}%new`);
    const make =
      volume.content === undefined
        ? `mkdir ${fresh}${own(fresh)}`
        : `cp -a -T ${quoted(`${rootfs}/${volume.content}`)} ${fresh}`;
    return `  [ -e ${made} ] || { rm -rf ${fresh}; ${make}; mv ${fresh} ${made}; }\n`;
  });
  if (missingDirectory !== undefined) {
    const missing = quoted(`${rootfs}/${missingDirectory}`);
    steps.push(`  mkdir -p ${missing}${own(missing)}\n`);
  }
  return steps.length === 0
    ? ''
    : `if [ ! -e ${directory}/prepared ]; then\n${steps.join('')}  : > ${directory}/prepared\nfi\n`;
}

/**
 * Tells whoever started the container by hand (`spawnlet run`, which attaches first) that it is made, by a file, and waits
 * for a line through the gate; a start by systemd finds no gate and goes on, since the gate goes with the run's directory.
 * Without an answer `otherwise` runs.
 */
export function gateScript(name: string, otherwise: string): string {
  const run = runDirectoryOf(name);
  return `if [ -p ${run}/gate ]; then
  exec 5<>${run}/gate
  : > ${run}/made
  read -r -t 10 -u 5 _ || { echo 'spawnlet run went away before it had attached' >&2; ${otherwise}; }
  exec 5>&-
fi
`;
}

/** One record, as the shell's printf takes it; `ended` 0: not known. */
const recordFormat = `'{"version":1,"invocation":"%s","result":"%s","code":"%s","status":"%s","oom":%s,"ended":%s}\\n'`;

/** Writes what `ps -a`, `wait` and `inspect` read of the last run; a reader sees the former record or this one, whole. */
export const writeRecord = (
  { directory }: Pick<ContainerSpec, 'directory'>,
  ...values: readonly string[]
): string =>
  `printf ${recordFormat} \\
  "$INVOCATION_ID" ${values.join(' ')} > ${directory}/record~
mv ${directory}/record~ ${directory}/record
`;

/**
 * What systemd runs when the unit has ended, so that the record is there though nobody watched. `find` is the engine's: it
 * may set `oom`, `EXIT_CODE` and `EXIT_STATUS`.
 */
export function recordScript(spec: Pick<ContainerSpec, 'name' | 'directory'>, find: string): string {
  return `#!/bin/bash
# Runs when ${spec.name} has ended, however it ended.
oom=false
${find}${writeRecord(spec, '"$SERVICE_RESULT"', '"$EXIT_CODE"', '"$EXIT_STATUS"', '"$oom"', '"$EPOCHSECONDS"')}`;
}

/** With `--rm` the container's files go instead, its directory last: who waits for the end waits for that. */
export const removeScript = ({ name, directory }: ContainerSpec): string =>
  `rm -rf ${transientUnits}/${name}.service ${transientUnits}/${name}:health.* ${directory}\n`;
