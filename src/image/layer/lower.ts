import { posix } from 'node:path';
import type { Readable } from 'node:stream';
import { type Children, ended } from '../../host/child.ts';
import { SpawnletError } from '../../host/error.ts';
import { type LayerView, resolveInLayers } from '../lookup.ts';
import type { LowerLink } from './contents.ts';
import { type Limits, refuse } from './entry.ts';
import type { Piece } from './output.ts';
import { Sanitiser } from './sanitiser.ts';

/**
 * What hard links into lower layers need: the target, and directories that lead to it, copied up with all of their
 * attributes, as overlayfs does when such a link is made. Links themselves come after it.
 */
export async function* copyUp(
  children: Children,
  lower: readonly LayerView[],
  links: readonly LowerLink[],
  layer: Sanitiser,
  limits: Limits,
): AsyncGenerator<readonly Piece[]> {
  const wanted = new Map<string, Set<string>>();
  const want = (path: string, kind: 'directory' | 'target') => {
    const found = resolveInLayers(lower, Buffer.from(path, 'latin1').toString(), 'keep');
    const fits = found?.path === path && (found.kind === 'directory') === (kind === 'directory');
    if (!found || !fits) throw refuse('ERR_LAYER_LINK', 'a hard link to what no lower layer has', path);
    const directory = lower[found.layer]?.directory ?? '';
    const paths = wanted.get(directory) ?? new Set();
    wanted.set(directory, paths.add(path));
  };
  for (const target of new Set(links.map(link => link.target))) {
    if (layer.isRemoved(target))
      throw refuse('ERR_LAYER_LINK', 'a hard link to what the layer removes', target);
    for (let up = posix.dirname(target); up !== '.'; up = posix.dirname(up))
      if (layer.isImplied(up)) want(up, 'directory');
    want(target, 'target');
  }
  for (const [directory, paths] of wanted) yield* archive(children, directory, paths, limits);
  for (const { entry, target } of links) yield layer.add({ ...entry, target });
}

/** Members of a layer of the store, as an archive without its end. */
async function* archive(
  children: Children,
  directory: string,
  paths: ReadonlySet<string>,
  limits: Limits,
): AsyncGenerator<readonly Piece[]> {
  const argv = ['tar', '--create', '--file=-', '--format=pax', `--directory=${directory}`, '--no-recursion'];
  argv.push('--numeric-owner', '--xattrs', '--xattrs-include=user.*', '--xattrs-include=security.capability');
  argv.push('--null', '--verbatim-files-from', '--no-unquote', '--files-from=-');
  const child = children.spawn(argv, { stdio: ['pipe', 'pipe', 'pipe'] });
  const end = ended(child);
  end.catch(() => undefined);
  let said = '';
  child.stderr?.setEncoding('latin1').on('data', (text: string) => {
    said += text;
  });
  child.stdin?.on('error', () => undefined);
  child.stdin?.end(Buffer.from([...paths].map(path => `${path}\0`).join(''), 'latin1'));
  const members = new Sanitiser(limits);
  try {
    for await (const chunk of child.stdout as Readable) yield members.push(chunk as Buffer);
    const code = await end;
    if (code !== 0)
      throw new SpawnletError(
        'ERR_LAYER_LINK',
        `a lower layer cannot be read: tar ended with ${code}: ${said}`,
      );
    members.end();
  } finally {
    if (child.exitCode === null) child.kill('SIGKILL');
  }
}
