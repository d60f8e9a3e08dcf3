import type { PodEngine } from '../pod/spec/engine-limits.ts';
import { type Desired, expand } from '../pod/spec/expand.ts';
import { type ManifestDocument, parseManifest } from '../pod/spec/manifest.ts';
import { validate } from '../pod/spec/validate.ts';
import type { Objects } from '../pod/worker/dependencies.ts';
import type { ManifestFile } from './manifests.ts';

/**
 * What manifests ask for.
 *
 * @param fallback who runs the pods that name nobody
 * @throws ERR_MANIFEST with all that is wrong in them
 */
export async function wantedBy(
  files: readonly ManifestFile[],
  nodeName: string,
  fallback: PodEngine,
): Promise<Desired> {
  const documents = await Promise.all(files.map(({ path, text }) => parseManifest(text, path)));
  return askedFor(documents.flat(), nodeName, fallback);
}

const askedFor = (documents: readonly ManifestDocument[], nodeName: string, fallback: PodEngine): Desired =>
  expand(validate(documents, fallback), nodeName, fallback);

/** What no manifest asks for. */
export const nothingWanted: Desired = {
  pods: [],
  configMaps: new Map(),
  secrets: new Map(),
  claims: new Map(),
};

/** What a file that cannot be read asks for is left as it was: a mistake in one takes no pod of another away. */
export interface Wanted {
  readonly desired: Desired;
  readonly mistakes: readonly unknown[];
}

interface Good {
  readonly text: string;
  readonly documents: readonly ManifestDocument[];
}

/** The same, where the files that are wrong are told and stand as they were read last. Only those that differ are parsed. */
export class Manifests {
  readonly #good = new Map<string, Good>();
  readonly #nodeName: string;
  readonly #fallback: PodEngine;
  #desired: Desired = nothingWanted;

  constructor(nodeName: string, fallback: PodEngine) {
    this.#nodeName = nodeName;
    this.#fallback = fallback;
  }

  async read(files: readonly ManifestFile[]): Promise<Wanted> {
    const mistakes: unknown[] = [];
    const paths = new Set(files.map(({ path }) => path));
    for (const path of this.#good.keys()) if (!paths.has(path)) this.#good.delete(path);
    for (const { path, text } of files) {
      // Somebody is about to write it.
      if (text.trim() === '' || this.#good.get(path)?.text === text) continue;
      try {
        const documents = await parseManifest(text, path);
        askedFor(documents, this.#nodeName, this.#fallback);
        this.#good.set(path, { text, documents });
      } catch (error) {
        mistakes.push(error);
      }
    }
    try {
      this.#desired = askedFor(
        [...this.#good.values()].flatMap(({ documents }) => documents),
        this.#nodeName,
        this.#fallback,
      );
    } catch (error) {
      // Each is right by itself, and together they are not: nothing new is taken, and nothing goes.
      mistakes.push(error);
    }
    return { desired: this.#desired, mistakes };
  }
}

/** Objects as pods ask for them. */
export const objectsOf = ({ configMaps, secrets, claims }: Desired): Objects => ({
  configMap: (namespace, name) => configMaps.get(`${namespace}/${name}`),
  secret: (namespace, name) => secrets.get(`${namespace}/${name}`),
  claims: namespace =>
    new Map(
      [...claims.values()]
        .filter(({ metadata }) => metadata?.namespace === namespace)
        .map(({ metadata = {} }) => [metadata.name ?? '', { kind: 'directory' }]),
    ),
});
