import { rmdir } from 'node:fs/promises';
import type { Host } from '../../host/host.ts';
import { layersDirectory, stateDirectory } from '../../names.ts';
import type { Place, Probe } from './diagnosis.ts';
import { container, labs, names, nspawn, nspawnProgram, program, seccomp, sockets } from './engine-probes.ts';
import {
  cgroups,
  inotify,
  journal,
  limits,
  root,
  rootDirectory,
  systemd,
  userNamespaces,
} from './host-probes.ts';
import { idmaps, overlay, space, unpacking, whiteouts } from './store-probes.ts';

/** Every probe, in the order of the report. */
export const probes: readonly Probe[] = [
  root,
  systemd,
  rootDirectory,
  cgroups,
  limits,
  overlay,
  whiteouts,
  unpacking,
  program('crun', 'isolates containers'),
  program('conmon', 'is a container’s main process, and passes its streams on'),
  program('nft', 'gives containers and machines a bridge with published ports'),
  names,
  seccomp,
  container,
  journal,
  sockets,
  inotify,
  space,
  nspawnProgram,
  nspawn,
  labs,
  userNamespaces,
  idmaps,
];

/** Makes the directory that probes work in, on the file system of the store, and takes it away afterwards. */
export async function makePlace(host: Host): Promise<Place & AsyncDisposable> {
  if (process.getuid?.() !== 0) return { host, directory: '', async [Symbol.asyncDispose]() {} };
  const { files } = host;
  // Names the holder if another doctor is at work, whose directory it is.
  const lock = await host.locks.take('doctor');
  const directory = `${stateDirectory}/doctor`;
  const absent: string[] = [];
  // The store makes them when it is first used; a doctor leaves a host as it was.
  for (const path of [stateDirectory, layersDirectory]) {
    if ((await files.look(path)) === undefined) absent.unshift(path);
    await files.makeDirectory(path, 0o700);
  }
  await files.remove(directory);
  await files.makeDirectory(directory, 0o700);
  return {
    host,
    directory,
    async [Symbol.asyncDispose]() {
      await files.remove(directory);
      // Not if somebody else has put something there since.
      for (const path of absent) await rmdir(path).catch(() => undefined);
      await lock[Symbol.asyncDispose]();
    },
  };
}
