import { SpawnletError } from '../host/error.ts';
import { formatVersion, machinesDirectory } from '../names.ts';
import { escapePath, pathWord } from '../systemd/escape.ts';
import { renderUnit, section, unitFile } from '../systemd/unit-file.ts';

/** What a machine's tree is put together of. */
export interface Layers {
  /** Lowest first. */
  readonly lower: readonly string[];
  readonly upper: string;
  readonly work: string;
}

/** The name of the unit that mounts a machine's tree. */
export const mountUnitName = (machine: string) => `${escapePath(`${machinesDirectory}/${machine}`)}.mount`;

/** The options of a mount are a page to the kernel. */
const maxOptions = 4095;

/** Overlayfs, mount(8) and systemd each have their own escapes of these; no path of spawnlet's has one. */
function layer(path: string): string {
  if (/^\/[\w@+=./-]+$/.test(path) && !path.split('/').includes('..')) return path;
  throw new SpawnletError('ERR_UNIT_VALUE', `${JSON.stringify(path)} cannot be a layer of an overlay`, {
    hint: 'a layer is an absolute path of letters, digits and _ @ + = . -',
  });
}

/**
 * The mount unit of a clone: its base below, what it changes above. systemd mounts it before the machine starts, since the stock unit
 * has `RequiresMountsFor=/var/lib/machines/%i`.
 */
export function mountUnit(machine: string, { lower, upper, work }: Layers): string {
  const path = `${machinesDirectory}/${machine}`;
  const options = [
    `lowerdir=${lower.map(layer).toReversed().join(':')}`,
    `upperdir=${layer(upper)}`,
    `workdir=${layer(work)}`,
    // An upper directory that was copied, as a snapshot is, would not be taken with an index.
    'index=off',
  ].join(',');
  if (lower.length === 0 || options.length > maxOptions)
    throw new SpawnletError('ERR_UNIT_VALUE', `the layers of machine ${machine} cannot be mounted`, {
      hint: `an overlay takes one layer or more, and ${maxOptions} bytes of options`,
    });
  return renderUnit(
    unitFile(
      `The tree of machine ${machine}, made by 'spawnlet machine'.\nIt is mounted when the machine starts.`,
      [
        section('Unit', [
          ['Description', `Tree of machine ${machine}`],
          ['Documentation', 'man:systemd.mount(5) https://docs.kernel.org/filesystems/overlayfs.html'],
          // Not part of local-fs.target: its layers may lie on a file system that comes with the network.
          ['DefaultDependencies', 'no'],
          ['Conflicts', 'umount.target'],
          ['Before', 'umount.target'],
          ['RequiresMountsFor', [...lower, upper].map(pathWord).join(' ')],
        ]),
        section('Mount', [
          ['What', 'overlay'],
          ['Where', path],
          ['Type', 'overlay'],
          ['Options', options],
        ]),
        section('X-Spawnlet', [['FormatVersion', String(formatVersion)]]),
      ],
    ),
  );
}
