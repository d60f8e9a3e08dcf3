/** Commands that are killed at a border between two steps of their plans: see killed-at.ts. */
import assert from 'node:assert/strict';
import { mkdtemp, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { build } from 'esbuild';
import { systemChildren } from '../../src/host/child.ts';

const modules = join(import.meta.dirname, '../../node_modules');
const killed = 137;

export interface KilledCommand extends AsyncDisposable {
  /** Runs a command that is killed at a border: see killed-at.ts. False if it has fewer of them and went through. */
  runUntil(border: number, words: readonly string[], borders?: 'steps' | 'calls'): Promise<boolean>;
}

/** Bundles it first into one file, as the command itself is: it starts four times as fast. */
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
  return {
    async runUntil(border, words, borders = 'steps') {
      const { code, stderr } = await systemChildren.capture(
        [process.execPath, program, borders, String(border), ...words],
        { signal: AbortSignal.timeout(60_000), env: { ...process.env, NODE_PATH: modules } },
      );
      assert.ok(code === killed || code === 0, `border ${border}: ended with ${code}: ${stderr}`);
      return code === killed;
    },
    [Symbol.asyncDispose]: () => rm(directory, { recursive: true }),
  };
}
