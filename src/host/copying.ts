import { type Children, ended } from './child.ts';

/** Command lines that read a file or tree here and write it there, maybe in another container: tar or cat and a pipe. */
export interface CopyWords {
  readonly produce: readonly string[];
  readonly consume: readonly string[];
}

/**
 * Where a copy goes. On the host a stream is somebody else's: no set-id bits, no device nodes, and nothing through links, which
 * an earlier copy may have brought. `host-inside`: the name in the directory is the stream's, too.
 */
export type CopyTarget = 'container' | 'host' | 'host-inside';

const noLink = '[ ! -L "$1" ] || { echo "$1 is a symbolic link" >&2; exit 1; }';

/** tar itself leaves no new directory; in one that is there it would follow links, where cp replaces or refuses them. */
const unpackOnHost = `set -eu
unpack() { setpriv --bounding-set=-mknod tar -x --no-same-permissions --no-same-owner -f - -C "$1"; }
mkdir -p -- "$(dirname -- "$1")"
if [ ! -d "$1" ]; then mkdir -- "$1"; unpack "$1"; exit; fi
part=$(mktemp -d -- "$1/.spawnlet-copy.XXXXXX"); mkdir "$part/tree"
trap 'rm -rf -- "$part"' EXIT; trap 'exit 1' HUP INT TERM
unpack "$part/tree"
find "$part/tree" -mindepth 1 -maxdepth 1 -exec cp -R --remove-destination --preserve=mode,timestamps -t "$1" -- {} +`;

const scripts: Readonly<Record<CopyTarget, { readonly tree: string; readonly file: string }>> = (() => {
  const tree = 'mkdir -p "$1" && exec tar -x -p --no-same-owner -f - -C "$1"';
  const file = 'umask 077; cat >"$1" && chmod "$2" "$1"';
  const masked = 'mode=$(printf %o $((0$2 & 0777 & ~$(umask)))); umask 077; cat >"$1" && chmod "$mode" "$1"';
  return {
    container: { tree, file },
    host: { tree: unpackOnHost, file: masked },
    'host-inside': { tree: `${noLink}\n${unpackOnHost}`, file: `${noLink}\n${masked}` },
  };
})();

/** Of a directory: what is in it. Modes are kept, owners are those who run at the target. */
export const treeWords = (from: string, to: string, target: CopyTarget): CopyWords => ({
  produce: ['tar', '--create', '--file=-', `--directory=${from}`, '.'],
  consume: ['sh', '-c', scripts[target].tree, 'sh', to],
});

/** `mode` is octal. */
export const fileWords = (from: string, to: string, mode: string, target: CopyTarget): CopyWords => ({
  produce: ['cat', '--', from],
  consume: ['sh', '-c', scripts[target].file, 'sh', to, mode],
});

/** Runs the two with a pipe between them. Gives what they said if one failed. */
export async function copyPiped(
  children: Children,
  { produce, consume }: CopyWords,
  signal: AbortSignal,
): Promise<string | undefined> {
  // The bytes go from one child to the other and not through here; both start before either can end.
  const producer = children.spawn(produce, { stdio: ['ignore', 'pipe', 'pipe'], signal });
  const consumer = children.spawn(consume, { stdio: [producer.stdout, 'ignore', 'pipe'], signal });
  producer.stdout?.destroy();
  const said: string[] = [];
  for (const child of [producer, consumer]) child.stderr?.on('data', chunk => said.push(String(chunk)));
  const codes = await Promise.all([ended(producer), ended(consumer)]);
  return codes.every(code => code === 0) ? undefined : said.join('').trim();
}
