/** Where the files of a pod's volumes lie. docs/on-disk.md tells the same. */
import { sha256 } from '../../host/digest.ts';
import { claimsDirectory, podsDirectory } from '../../names.ts';
import { escapePath } from '../../systemd/escape.ts';

/** Directories of a pod's volumes: one for each way in which they are kept. */
export type Shelf = 'empty-dir' | 'ephemeral' | 'memory' | 'config' | 'secret' | 'nfs' | 'image';

/** Bytes of the name of a unit of a pod. */
const maxName = 200;

/** UIDs, and names of volumes, containers and claims: what the API takes is the name of a file, and nothing else gets here. */
function part(name: string): string {
  if (/^[A-Za-z0-9_.-]+$/.test(name) && !/^\.+$/.test(name)) return name;
  throw new Error(`${JSON.stringify(name)} is no name of a file, and was not refused`);
}

/** All of a pod's own; mode 0700. */
export const podDirectory = (uid: string): string => `${podsDirectory}/${part(uid)}`;

export const volumesDirectory = (uid: string): string => `${podDirectory(uid)}/volumes`;

/** The directory of all volumes that are kept in one way. That of `secret` is where the pod's tmpfs is mounted. */
export const shelfOf = (uid: string, shelf: Shelf): string => `${volumesDirectory(uid)}/${shelf}`;

/** The directory of a volume. */
export const volumeDirectory = (uid: string, shelf: Shelf, name: string): string =>
  `${shelfOf(uid, shelf)}/${part(name)}`;

/** The name of the unit that mounts something at a path. */
export const mountUnitOf = (path: string): string => `${escapePath(path)}.mount`;

/**
 * A name in a directory where something is mounted. A unit is named after the path: a name that would make that too long, each
 * `-` being four bytes in there, is cut, and told apart by its digest. `below` is what follows the name.
 */
function mountedName(directory: string, name: string, below = ''): string {
  const path = `${directory}/${part(name)}`;
  if (mountUnitOf(path + below).length <= maxName) return path;
  return `${directory}/${name.slice(0, 12)}_${sha256(name).toString('hex', 0, 6)}`;
}

/** The directory of a volume that is a mount of its own. */
export const mountedDirectory = (uid: string, shelf: Shelf, name: string): string =>
  mountedName(shelfOf(uid, shelf), name);

/** How the names of all units begin that mount something of a pod. */
export const mountUnitPrefix = (uid: string): string => `${escapePath(podDirectory(uid))}-`;

/** Where the parts of volumes are bound that a container has by a subPath, by the numbers of its mounts. */
export const subPathsOf = (uid: string, container: string): string =>
  mountedName(`${podDirectory(uid)}/subpaths`, container, '/00');

/** The directory of a claim. It is nobody's but the claim's: pods come and go. */
export const claimDirectory = (namespace: string, name: string): string =>
  `${claimsDirectory}/${part(namespace)}/${part(name)}`;
