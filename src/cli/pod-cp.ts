import { join, resolve } from 'node:path';
import type { ProcessSpec } from '../engine/exec.ts';
import { SpawnletError } from '../host/error.ts';
import type { End } from '../machine/copy.ts';
import { containerDirectory } from '../pod/unit/names.ts';
import { engineOf } from '../pod/worker/engine.ts';
import { getPod, runningIn } from '../pod/worker/known.ts';
import { defineCommand } from './command.ts';
import { namespaceOf, namespaceOption } from './pod.ts';
import { containerOption } from './pod-exec.ts';

/** A path of the host, or of a container of a pod, as kubectl has it. */
export type PodPlace =
  | { readonly kind: 'host'; readonly path: string }
  | {
      readonly kind: 'pod';
      readonly namespace: string | undefined;
      readonly pod: string;
      readonly path: string;
    };

/** `POD:PATH`, `NAMESPACE/POD:PATH`, or a path of the host. @throws ERR_USAGE */
export function parsePodPlace(text: string): PodPlace {
  const found = /^(?:([a-z0-9-]+)\/)?([a-z0-9][a-z0-9.-]*):(.*)$/s.exec(text);
  if (!found) return { kind: 'host', path: resolve(text) + (/(?:^|\/)\.$/.test(text) ? '/.' : '') };
  const [, namespace, pod = '', path = ''] = found;
  if (path === '' || path.includes('\0'))
    throw new SpawnletError('ERR_USAGE', `'${text}' needs a path behind the colon`, {
      hint: `as in ${pod}:/etc/hosts; for a file of the host of this name: ./${text}`,
    });
  return { kind: 'pod', namespace, pod, path };
}

export const cp = defineCommand({
  name: 'pod cp',
  group: 'Pods',
  summary: 'Copy files to or from containers of pods',
  synopsis: '[FLAG…] [[NAMESPACE/]POD:]SRC [[NAMESPACE/]POD:]DST',
  arity: [2, 2],
  options: { ...namespaceOption, ...containerOption },
  refused: {
    'no-preserve': 'nothing to do: what is copied belongs to who copies, in the container to its user',
    retries: 'nothing to do: nothing is copied through a connection',
  },
  examples: [
    ['spawnlet pod cp ./site web:/srv', 'a tree into a container: /srv/site'],
    ['spawnlet pod cp -c nginx web:/var/log/nginx/. logs', 'what is in a directory of it'],
  ],
  async run({ options, arguments: [source = '', target = ''] }, { host, signal }) {
    const places = [parsePodPlace(source), parsePodPlace(target)] as const;
    const remote = places.find(place => place.kind === 'pod');
    if (!remote || !places.some(({ kind }) => kind === 'host'))
      throw new SpawnletError('ERR_USAGE', 'one of the two has to be in a pod, the other one on the host', {
        hint: 'as in spawnlet pod cp file web:/srv',
      });
    const known = await getPod(host.files, remote.namespace ?? namespaceOf(options), remote.pod);
    const { name } = runningIn(known, options.container);
    const [{ openRoot }, { copyFiles }] = await Promise.all([
      import('../pod/access/root.ts'),
      import('../machine/copy.ts'),
    ]);
    const text = await host.files.read(`${containerDirectory(known.identity.uid, name)}/config.json`);
    const { process: own } = JSON.parse(text ?? '{}') as { readonly process: ProcessSpec };
    const { identity, pod } = known;
    using root = await openRoot(host.files, identity, name, engineOf(pod).pidFileOf({ identity, name }));
    const ends = places.map((place): End => {
      if (place.kind === 'host') return place;
      const path = place.path.startsWith('/') ? place.path : `${join('/', own.cwd)}/${place.path}`;
      const { uid, gid } = own.user;
      return { kind: 'in-use', name: place.pod, root: root.path, owner: { uid, gid }, path };
    });
    const [from, to] = ends;
    if (from && to) await copyFiles(host, from, to, signal);
    return 0;
  },
});
