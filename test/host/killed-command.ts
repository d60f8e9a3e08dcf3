/** Commands that are killed at a border between two steps of their plans: see killed-at.ts. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { build } from 'esbuild';
import { systemChildren } from '../../src/host/child.ts';

const modules = join(import.meta.dirname, '../../node_modules');
const killed = 137;

type Borders = 'steps' | 'calls' | 'records';

export interface KilledCommand extends AsyncDisposable {
  /** Runs a command that is killed at a border: see killed-at.ts. False if it has fewer of them and went through. */
  runUntil(border: number, words: readonly string[], borders?: Borders): Promise<boolean>;
  /** Starts one that does not end by itself. */
  start(border: number, words: readonly string[], borders: Borders): ChildProcess;
}

/**
 * Bundles it first into one file, as the command itself is, and has Node keep what it has compiled of that: it starts ten times as fast.
 * One that is killed keeps nothing, so one that goes through comes first.
 */
export async function useKilledCommand(): Promise<KilledCommand> {
  const directory = await mkdtemp(join(tmpdir(), 'killed-'));
  const program = join(directory, 'killed-at.cjs');
  await build({
    entryPoints: [join(import.meta.dirname, 'killed-at.ts')],
    outfile: program,
    bundle: true,
    platform: 'node',
    format: 'cjs',
    target: 'node24',
    external: ['koffi'],
  });
  await symlink(modules, join(directory, 'node_modules'));
  const argv = (border: number, words: readonly string[], borders: Borders) => [
    process.execPath,
    '--max-semi-space-size=1',
    program,
    borders,
    String(border),
    ...words,
  ];
  const env = { ...process.env, NODE_PATH: modules, NODE_COMPILE_CACHE: join(directory, 'cache') };
  const [node = '', ...words] = argv(Number.POSITIVE_INFINITY, ['machine', 'ls'], 'steps');
  await systemChildren.capture([node, ...words], { env });
  return {
    start: (border, words, borders) => {
      const [, ...rest] = argv(border, words, borders);
      return spawn(node, rest, { stdio: 'ignore', env });
    },
    async runUntil(border, words, borders = 'steps') {
      const { code, stderr } = await systemChildren
        .capture(argv(border, words, borders), { signal: AbortSignal.timeout(60_000), env })
        .catch((cause: unknown) => {
          throw new Error(`border ${border} of ${words.join(' ')}: it has not ended within a minute`, {
            cause,
          });
        });
      assert.ok(code === killed || code === 0, `border ${border}: ended with ${code}: ${stderr}`);
      return code === killed;
    },
    [Symbol.asyncDispose]: () => rm(directory, { recursive: true }),
  };
}
