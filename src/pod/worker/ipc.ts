import { check } from '../../host/child.ts';
import type { Host } from '../../host/host.ts';
import type { Executors } from '../../host/step.ts';
import { isNamespace } from '../../network/cni/netns.ts';

/** Namespaces that are files, and that containers of a pod share. One of IPC needs no process. */
export type IpcStep =
  | { readonly do: 'make-ipc'; readonly path: string }
  | { readonly do: 'remove-namespace'; readonly path: string };

export function ipcExecutors({ files, children }: Pick<Host, 'files' | 'children'>): Executors<IpcStep> {
  async function remove(path: string): Promise<void> {
    while (await isNamespace(files, path)) await check(children, ['umount', '--lazy', path]);
    await files.remove(path);
  }

  return {
    'make-ipc': {
      describe: ({ path }) => `make IPC namespace ${path}`,
      satisfied: ({ path }) => isNamespace(files, path),
      apply: async ({ path }, signal) => {
        await remove(path);
        await files.append(path, '', 0o400);
        await check(children, ['unshare', `--ipc=${path}`, 'true'], { signal });
      },
      undo: ({ path }) => remove(path),
    },
    'remove-namespace': {
      describe: ({ path }) => `remove namespace ${path}`,
      satisfied: async ({ path }) => (await files.look(path)) === undefined,
      apply: ({ path }) => remove(path),
    },
  };
}
