import type { PersistentVolumeClaimSpec } from '../../api/kubernetes.ts';
import { quantityOf } from '../quantity.ts';
import type { Place } from './place.ts';

/** A claim that can be a directory. */
export function checkClaim(
  { accessModes = [], resources, volumeMode }: PersistentVolumeClaimSpec,
  place: Place,
): void {
  if (accessModes.length === 0) place.at('accessModes').wrong('is missing: ReadWriteOnce, for one');
  if (accessModes.length > 1 && accessModes.includes('ReadWriteOncePod'))
    place.at('accessModes').wrong('has ReadWriteOncePod, which stands alone');
  if (volumeMode === 'Block') place.at('volumeMode').wrong('does not take Block: a claim is a directory');
  const storage = resources?.requests?.['storage'];
  if (storage === undefined) place.at('resources', 'requests', 'storage').wrong('is missing');
  else if (quantityOf(storage).nano <= 0n)
    place.at('resources', 'requests', 'storage').wrong(`does not take ${storage}: a size of more than 0`);
}
