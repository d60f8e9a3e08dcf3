import { SpawnletError } from '../host/error.ts';

/**
 * Parses a file that the store itself has written.
 *
 * @throws ERR_STORE_DAMAGED for one that a power cut, or somebody, has left without its end
 */
export function readStored<T>(path: string, text: string): T {
  try {
    return JSON.parse(text) as T;
  } catch (cause) {
    throw new SpawnletError('ERR_STORE_DAMAGED', `${path} cannot be read`, {
      cause,
      hint: `mv '${path}' '${path}.damaged', then spawnlet image pull what it told of`,
    });
  }
}
