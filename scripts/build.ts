/**
 * Bundles `src/main.ts` into `dist/app.cjs`, one file of which the parts that are loaded only when needed are run only
 * then, and beside it the entry that has Node keep its compiled code.
 */
import { readFileSync } from 'node:fs';
import { rename, rm, writeFile } from 'node:fs/promises';
import { build } from 'esbuild';
import { entries } from '../src/cli/registry.ts';

const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string };
const fresh = `dist.${process.pid}`;
const old = `${fresh}.old`;

/**
 * Node keeps the functions that the first process with a cache has compiled. Each command has a cache of its own, which so
 * holds what that command runs.
 */
const words = [...new Set(entries.map(({ name }) => name.split(' ', 1)[0]))];
const entry = `const words = ${JSON.stringify(words)};
const word = words.includes(process.argv[2]) ? process.argv[2] : 'help';
require('node:module').enableCompileCache(__dirname + '/cache/' + word);
require('./app.cjs');
`;

try {
  await build({
    entryPoints: ['src/main.ts'],
    outfile: `${fresh}/app.cjs`,
    bundle: true,
    platform: 'node',
    format: 'cjs',
    target: 'node24',
    // What is imported later is a part of the one file, too.
    supported: { 'dynamic-import': false },
    minifySyntax: true,
    minifyWhitespace: true,
    define: { SPAWNLET_VERSION: JSON.stringify(version) },
    external: ['koffi'],
    logLevel: 'warning',
  });
  await writeFile(`${fresh}/spawnlet.cjs`, entry);
  // A command that runs meanwhile finds the old bundle or the new one, whole.
  await rename('dist', old).catch(() => undefined);
  await rename(fresh, 'dist');
} finally {
  await rm(old, { recursive: true, force: true });
  await rm(fresh, { recursive: true, force: true });
}
