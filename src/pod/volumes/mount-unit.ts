/** Units of a pod's mounts: systemd.mount(5). They are the pod's, which is a target, and go when that goes. */
import { SpawnletError } from '../../host/error.ts';
import { formatVersion, layersDirectory } from '../../names.ts';
import { description, plainPath, plainText } from '../../systemd/escape.ts';
import { renderUnit, section, unitFile } from '../../systemd/unit-file.ts';
import type { PodName, VolumeFacts } from './facts.ts';
import { shelfOf } from './places.ts';
import type { What } from './step.ts';
import type { PodVolume } from './volume.ts';

/** The options of an overlay are a page to the kernel. */
const maxOptions = 4095;

/**
 * Bytes of a tmpfs for each object whose keys lie in it: no object has more than 1 MiB, each file is rounded up to a page,
 * and the old files are there until the new ones are. It is a limit: what is not used is not taken.
 */
const bytesOfSource = 8 * 1024 ** 2;

/** The directory that an overlay of one layer has below it: it takes two. */
export const emptyLayer = (uid: string): string => `${shelfOf(uid, 'image')}/.empty`;

/** What is mounted for a volume; undefined for one that is no mount of its own. */
export function mountOfVolume({ uid }: PodName, volume: PodVolume, facts: VolumeFacts): What | undefined {
  switch (volume.kind) {
    case 'memory': {
      const { bytes, pages } = volume;
      if (pages === 'usual')
        return { what: 'tmpfs', type: 'tmpfs', options: [`size=${bytes}`, 'mode=0777', ...inMemory(facts)] };
      const options = [`pagesize=${pages}`, `size=${bytes}`, 'mode=0777', 'nosuid', 'nodev'];
      return { what: 'hugetlbfs', type: 'hugetlbfs', options };
    }
    case 'nfs':
      return { what: volume.what, type: 'nfs', options: volume.readOnly ? ['ro'] : [] };
    case 'image':
      return volume.layers.length === 0 ? undefined : overlay(uid, volume.layers);
    case 'directory':
    case 'files':
    case 'host-path':
      return undefined;
  }
}

/** The tmpfs that has the files of all volumes with something secret, which come from so many sources. */
export const secretMount = (sources: number, facts: VolumeFacts): What => ({
  what: 'tmpfs',
  type: 'tmpfs',
  options: [`size=${sources * bytesOfSource}`, 'mode=0755', ...inMemory(facts)],
});

const inMemory = ({ noswap }: VolumeFacts) => ['nosuid', 'nodev', ...(noswap ? ['noswap'] : [])];

/** Layers of an image upon each other, with nothing to write to on top. */
function overlay(uid: string, layers: readonly string[]): What {
  const paths = layers.map(layer => `${layersDirectory}/${layer}`);
  const lower = [...(layers.length === 1 ? [emptyLayer(uid)] : []), ...paths];
  const options = ['ro', 'nosuid', 'nodev', `lowerdir=${lower.toReversed().join(':')}`];
  if (options.join().length > maxOptions)
    throw new SpawnletError(
      'ERR_VOLUME_LAYERS',
      `an image volume of ${layers.length} layers cannot be mounted`,
      {
        hint: `the paths of an overlay's layers fit in ${maxOptions} bytes: use an image of fewer layers`,
      },
    );
  return { what: 'overlay', type: 'overlay', options };
}

type Assignment = readonly [key: string, value: string];

/** A server may be gone when the pod goes. */
const remote: { readonly unit: readonly Assignment[]; readonly mount: readonly Assignment[] } = {
  unit: [
    ['Wants', 'network-online.target'],
    ['After', 'network-online.target'],
  ],
  mount: [
    ['ForceUnmount', 'yes'],
    ['LazyUnmount', 'yes'],
  ],
};

/** The unit of a mount. */
export function mountUnit(
  { namespace, name }: PodName,
  title: string,
  path: string,
  { what, type, options }: What,
  { target }: VolumeFacts,
): string {
  const more = type === 'nfs' ? remote : { unit: [], mount: [] };
  return renderUnit(
    unitFile(`${title} of pod ${namespace}/${name}, made by 'spawnlet kubelet'.`, [
      section('Unit', [
        ['Description', description(`${title} of pod ${namespace}/${name}`)],
        ['Documentation', 'man:systemd.mount(5)'],
        // Not part of local-fs.target: it is mounted when its pod is made.
        ['DefaultDependencies', 'no'],
        ['Conflicts', 'umount.target'],
        ['Before', 'umount.target'],
        ['PartOf', target],
        ['CollectMode', 'inactive-or-failed'],
        ...more.unit,
      ]),
      section('Mount', [
        ['What', plainText('what is mounted', what)],
        ['Where', plainPath(path)],
        ['Type', type],
        ...(options.length > 0 ? ([['Options', options.join()]] as const) : []),
        ...more.mount,
      ]),
      section('X-Spawnlet', [['FormatVersion', String(formatVersion)]]),
    ]),
  );
}
