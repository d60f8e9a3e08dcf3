import { join } from 'node:path';
import type { Host } from '../host/host.ts';
import { holderOf, temporaryName } from './work-name.ts';

/** Held while a pull is under way, whose layers are not yet those of an image, or a run, whose image is not yet in use. */
export interface Lease extends AsyncDisposable {}

/** The key of a layer, or the digest of a manifest. */
export type Leased = string;

const leasesOf = (directory: string) => join(directory, 'leases');

/** Writes which layers, and which manifest, are needed. The caller holds the store's lock. */
export async function takeLease(directory: string, host: Host, keys: readonly Leased[]): Promise<Lease> {
  const path = join(leasesOf(directory), temporaryName(host.locks.self));
  await host.files.makeDirectory(leasesOf(directory), 0o700);
  await host.files.write(path, `${JSON.stringify(keys)}\n`, 0o600);
  return { [Symbol.asyncDispose]: () => host.files.remove(path) };
}

/** Removes the leases of processes that are gone. */
export async function sweepLeases(directory: string, host: Host): Promise<void> {
  // What is being written has another name until it is whole.
  await host.files.sweep(leasesOf(directory));
  for (const name of await host.files.list(leasesOf(directory))) {
    const holder = holderOf(name);
    if (holder && !host.locks.isAlive(holder)) await host.files.remove(join(leasesOf(directory), name));
  }
}

/** What pulls and runs under way need. The caller holds the store's lock. */
export async function leasedKeys(directory: string, host: Host): Promise<Leased[]> {
  await sweepLeases(directory, host);
  const names = (await host.files.list(leasesOf(directory))).filter(name => holderOf(name) !== undefined);
  const texts = await Promise.all(names.map(name => host.files.read(join(leasesOf(directory), name))));
  return texts.flatMap(text => (text === undefined ? [] : (JSON.parse(text) as Leased[])));
}
