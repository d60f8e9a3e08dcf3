import type { Files } from '../host/files.ts';
import type { PublishedPort } from './spec.ts';

/** What a container has of spawnlet's own bridge, from its creation to its removal. */
export interface ContainerNetwork {
  readonly version: 1;
  /** CIDR, IPv4 first. */
  readonly addresses: readonly string[];
  readonly ports: readonly PublishedPort[];
}

/** In a container's directory. */
export const networkFile = 'network.json';

/** Undefined for a container that is not on the bridge, and for a file that a power cut has left without its end. */
export async function readContainerNetwork(
  files: Files,
  directory: string,
): Promise<ContainerNetwork | undefined> {
  const text = await files.read(`${directory}/${networkFile}`);
  try {
    return text === undefined ? undefined : (JSON.parse(text) as ContainerNetwork);
  } catch {
    return undefined;
  }
}
