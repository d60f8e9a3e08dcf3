/** Bundles `src/main.ts` into `dist/`: a small entry, and a chunk for each thing that is loaded only when needed. */
import { readFileSync } from 'node:fs';
import { rename, rm } from 'node:fs/promises';
import { build } from 'esbuild';

const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string };
const fresh = `dist.${process.pid}`;
const old = `${fresh}.old`;

try {
  await build({
    entryPoints: { spawnlet: 'src/main.ts' },
    outdir: fresh,
    outExtension: { '.js': '.mjs' },
    bundle: true,
    splitting: true,
    platform: 'node',
    format: 'esm',
    target: 'node24',
    minifySyntax: true,
    minifyWhitespace: true,
    define: { SPAWNLET_VERSION: JSON.stringify(version) },
    external: ['koffi'],
    // yaml is CommonJS and asks for node's own modules by require().
    banner: { js: "import{createRequire as $r}from'node:module';const require=$r(import.meta.url);" },
    logLevel: 'warning',
  });
  // A command that runs meanwhile finds the old bundle or the new one, whole.
  await rename('dist', old).catch(() => undefined);
  await rename(fresh, 'dist');
} finally {
  await rm(old, { recursive: true, force: true });
  await rm(fresh, { recursive: true, force: true });
}
