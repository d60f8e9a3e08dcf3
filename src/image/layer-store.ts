import { join } from 'node:path';
import type { Host } from '../host/host.ts';
import type { LayerView } from './lookup.ts';
import type { Digest } from './manifest.ts';
import { readStored } from './stored-file.ts';
import { holderOf, temporaryName } from './work-name.ts';

/**
 * What tells one unpacked layer from another: its diffID, or its chainID where it holds copies from the layers below
 * it, which other images may not have. Both are SHA-256 in hex.
 */
export type LayerKey = string;

/** An unpacked layer, as its file in `layers/` has it. */
export interface Layer {
  readonly version: 1;
  readonly key: LayerKey;
  /** Name in `l/`: the key's first 12 digits, or more where another layer has these. */
  readonly directory: string;
  readonly diffId: Digest;
  readonly entries: number;
  /** Bytes of its files. */
  readonly size: number;
  /** Directories that hide those of lower layers; relative, one character for each byte. */
  readonly opaque: readonly string[];
}

export const keyOf = (digest: Digest): LayerKey => digest.slice('sha256:'.length);

const shortest = 12;

/**
 * The layers of a store: unpacked in `l/`, described in `layers/`. A layer is there once its description is, which is
 * written last; what lies in `l/` without one was left by a process that was killed, or is being made.
 */
export class LayerStore {
  readonly directory: string;
  readonly #host: Host;

  constructor(directory: string, host: Host) {
    this.directory = directory;
    this.#host = host;
  }

  /** Undefined if the store does not have it whole. */
  async find(key: LayerKey): Promise<Layer | undefined> {
    const path = this.#description(key);
    const text = await this.#host.files.read(path);
    return text === undefined ? undefined : readStored<Layer>(path, text);
  }

  keys(): Promise<LayerKey[]> {
    return this.#host.files
      .list(join(this.directory, 'layers'))
      .then(names =>
        names.filter(name => name.endsWith('.json')).map(name => name.slice(0, -'.json'.length)),
      );
  }

  view(layer: Layer): LayerView {
    return { directory: this.path(layer.directory), opaque: new Set(layer.opaque) };
  }

  path(name: string): string {
    return join(this.directory, 'l', name);
  }

  /** A directory to unpack in. Its name says who made it, so that it can be removed when that process is gone. */
  async makeWork(): Promise<string> {
    const path = this.path(temporaryName(this.#host.locks.self));
    await this.#host.files.makeDirectory(path, 0o700);
    for (const name of ['jail', 'root']) await this.#host.files.makeDirectory(join(path, name), 0o755);
    return path;
  }

  /** Gives `root` of a work directory its place. The caller holds the store's lock and has looked that it is not there. */
  async publish(
    work: string,
    key: LayerKey,
    layer: Omit<Layer, 'version' | 'key' | 'directory'>,
  ): Promise<Layer> {
    const directory = await this.#freeName(key);
    const published: Layer = { version: 1, key, directory, ...layer };
    await this.#host.files.move(join(work, 'root'), this.path(directory));
    await this.#host.files.makeDirectory(join(this.directory, 'layers'), 0o700);
    await this.#host.files.write(this.#description(key), `${JSON.stringify(published)}\n`, 0o600, 'durable');
    return published;
  }

  /**
   * Makes a layer unknown and gives the directory that is left of it, for {@link discard} to remove without the lock.
   * The caller holds the store's lock.
   */
  async withdraw(key: LayerKey): Promise<string | undefined> {
    const layer = await this.find(key);
    await this.#host.files.remove(this.#description(key));
    return layer && (await this.#setAside(layer.directory));
  }

  /** What killed processes left; set aside for {@link discard}. The caller holds the store's lock. */
  async withdrawRemains(): Promise<string[]> {
    const keys = await this.keys();
    const known = new Set<string>();
    for (const key of keys) {
      const layer = await this.find(key);
      if (layer) known.add(layer.directory);
    }
    const remains: string[] = [];
    for (const name of await this.#host.files.list(join(this.directory, 'l'))) {
      const holder = holderOf(name);
      if (holder ? this.#host.locks.isAlive(holder) : known.has(name)) continue;
      remains.push(holder ? this.path(name) : await this.#setAside(name));
    }
    return remains;
  }

  async discard(path: string): Promise<void> {
    for (;;) {
      try {
        return await this.#host.files.remove(path);
      } catch (error) {
        // The tar child of a killed process may live a moment longer than it, and add a last file.
        if ((error as NodeJS.ErrnoException).code !== 'ENOTEMPTY') throw error;
      }
    }
  }

  #description(key: LayerKey): string {
    return join(this.directory, 'layers', `${key}.json`);
  }

  async #setAside(name: string): Promise<string> {
    const work = this.path(temporaryName(this.#host.locks.self));
    await this.#host.files.move(this.path(name), work);
    return work;
  }

  /**
   * Twelve digits can be made to collide on purpose; then it is more. A directory that no description names is of a
   * process that was killed between the two, since both are made under the store's lock.
   */
  async #freeName(key: LayerKey): Promise<string> {
    const taken = new Set<string>();
    for (const other of await this.keys()) {
      if (!other.startsWith(key.slice(0, shortest))) continue;
      const layer = await this.find(other);
      if (layer) taken.add(layer.directory);
    }
    let length = shortest;
    while (taken.has(key.slice(0, length))) length++;
    const name = key.slice(0, length);
    if (await this.#host.files.look(this.path(name))) await this.#setAside(name);
    return name;
  }
}
