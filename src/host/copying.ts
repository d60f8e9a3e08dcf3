import { type Children, ended } from './child.ts';

/** Command lines that read a file or tree here and write it there, maybe in another container: tar or cat and a pipe. */
export interface CopyWords {
  readonly produce: readonly string[];
  readonly consume: readonly string[];
}

/** Of a directory: what is in it. Modes are kept, owners are those who run at the target. */
export const treeWords = (from: string, to: string): CopyWords => ({
  produce: ['tar', '--create', '--file=-', `--directory=${from}`, '.'],
  consume: ['sh', '-c', 'mkdir -p "$1" && exec tar -x -p --no-same-owner -f - -C "$1"', 'sh', to],
});

/** `mode` is octal. */
export const fileWords = (from: string, to: string, mode: string): CopyWords => ({
  produce: ['cat', '--', from],
  consume: ['sh', '-c', 'umask 077; cat >"$1" && chmod "$2" "$1"', 'sh', to, mode],
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
