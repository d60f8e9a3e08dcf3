import { quoted } from '../host/shell.ts';
import { logNamespace } from '../names.ts';
import type { ContainerSpec, Mount } from './container.ts';

/**
 * Mounts that a container makes and the host is to see. Its unit cannot have a mount namespace by systemd, which cuts that
 * off from the host's; the start script makes one that is not cut off, and then cuts off all but what is to be shared.
 */

export const isShared = (mount: Mount): boolean =>
  mount.kind === 'bind' && mount.propagation.endsWith('shared');

const sharesMounts = ({ mounts }: ContainerSpec): boolean => mounts.some(isShared);

/** What of the host a container's root hears, and says: a mount of it can do no more. */
export function rootPropagation({ mounts }: ContainerSpec): 'private' | 'rslave' | 'rshared' {
  if (mounts.some(isShared)) return 'rshared';
  const hears = mounts.some(mount => mount.kind === 'bind' && mount.propagation.endsWith('slave'));
  return hears ? 'rslave' : 'private';
}

/** Mounts with the sources from which they are shared: those are bound by the start script, in the directory of the run. */
export const sharedSources = ({ mounts }: ContainerSpec, run: string): readonly Mount[] =>
  mounts.map((mount, index) => (isShared(mount) ? { ...mount, source: `${run}/shared/${index}` } : mount));

/** The beginning of the start script of a container that shares mounts; empty for any other. */
export function shareScript(spec: ContainerSpec, run: string): string {
  if (!sharesMounts(spec)) return '';
  const binds = spec.mounts.flatMap((mount, index) =>
    mount.kind === 'bind' && isShared(mount) ? `share ${quoted(mount.source)} ${run}/shared/${index}\n` : [],
  );
  return `if [ "\${1-}" != shared ]; then
  exec unshare --mount --propagation unchanged /bin/bash ${spec.directory}/start shared
fi
# What is mounted here is not seen by the host, but below the directories that the container shares with it.
mount --make-private /run
share() {
  if [ -d "$1" ]; then mkdir -p "$2"; else mkdir -p "\${2%/*}"; : > "$2"; fi
  mount --rbind "$1" "$2"
}
${binds.join('')}mount --make-slave "$(findmnt --noheadings --output TARGET --target ${spec.directory})"
# As LogNamespace= does it.
mount --bind /run/systemd/journal.${logNamespace} /run/systemd/journal
`;
}

type Assignment = readonly [key: string, value: string];

const journal = `systemd-journald@${logNamespace}.socket`;

/** The mount namespace and the journal of a container's unit, by section. LogNamespace= makes a mount namespace, too. */
export const namespaceLines = (
  spec: ContainerSpec,
): Readonly<Record<'unit' | 'service', readonly Assignment[]>> =>
  sharesMounts(spec)
    ? {
        unit: [
          ['Requires', journal],
          ['After', journal],
        ],
        service: [],
      }
    : {
        unit: [],
        service: [
          ['PrivateMounts', 'yes'],
          ['LogNamespace', logNamespace],
        ],
      };
