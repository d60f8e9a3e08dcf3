/**
 * Bundles `src/main.ts` into `dist/`: a file that every command reads, others that are read when a module of theirs is
 * imported, and the entry that loads them from code that V8 has compiled before. In each of them the modules that are
 * imported later run only then, which the chunks of esbuild do not: what they import of Node is loaded with them.
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { relative } from 'node:path';
import { type BuildOptions, build, type Metafile, type Plugin } from 'esbuild';
import { entries } from '../src/cli/registry.ts';

const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string };
const fresh = `dist.${process.pid}`;
const old = `${fresh}.old`;

/** Which modules are read only when a command asks for them. What two of these need, and no command always, is `common`. */
const parts: Readonly<Record<string, RegExp>> = {
  pods: /^src\/(pod|kubelet)\/|^src\/cli\/(pod|kubelet)/,
  // What was left of an import is looked for by every command that changes something.
  machines: /^src\/(machine\/(?!imports)|image\/tree\/)|^src\/cli\/(machine|base)/,
  others: /^src\/(lab|image\/layer)\/|^src\/cli\/(lab|help|doctor)|^src\/app\/doctor\//,
  yaml: /^node_modules\/yaml\//,
};
const partOf = (path: string) => Object.keys(parts).find(part => parts[part]?.test(path)) ?? 'app';

const main = 'src/main.ts';
const options = {
  bundle: true,
  platform: 'node',
  format: 'cjs',
  target: 'node24',
  // What is imported later is a part of the same file, too.
  supported: { 'dynamic-import': false },
  minifySyntax: true,
  minifyWhitespace: true,
  define: { SPAWNLET_VERSION: JSON.stringify(version) },
  external: ['koffi'],
  logLevel: 'warning',
} satisfies BuildOptions;

/** The file of each module, and the modules of each file that others import. */
interface Division {
  readonly fileOf: ReadonlyMap<string, string>;
  readonly doors: ReadonlyMap<string, readonly string[]>;
}

/** A module goes with those that import it; only an import that is made later begins a part. */
function divide(inputs: Metafile['inputs']): Division {
  const users = new Map<string, Set<string>>();
  const reach = (module: string, user: string) => {
    const known = users.get(module) ?? new Set();
    if (known.has(user)) return;
    users.set(module, known.add(user));
    for (const { path, kind } of inputs[module]?.imports ?? []) {
      if (!(path in inputs)) continue;
      const part = partOf(path);
      const begins = kind === 'dynamic-import' && part !== 'app' && part !== user;
      reach(path, begins ? part : user);
    }
  };
  reach(main, 'app');
  const fileOf = new Map(
    [...users].map(([module, of]) => {
      const [first = 'app'] = of;
      return [module, of.has('app') ? 'app' : of.size === 1 ? first : 'common'];
    }),
  );
  const doors = new Map([...new Set(fileOf.values())].map(file => [file, new Set<string>()]));
  for (const [importer, { imports }] of Object.entries(inputs)) {
    for (const { path } of imports) {
      const file = fileOf.get(path);
      if (file !== undefined && file !== fileOf.get(importer)) doors.get(file)?.add(path);
    }
  }
  return { fileOf, doors: new Map([...doors].map(([file, modules]) => [file, [...modules].sort()])) };
}

/** Modules of other files are `require('FILE:NUMBER')`, which the entry resolves. */
const oneFile = (own: string, { fileOf, doors }: Division): Plugin => ({
  name: 'division',
  setup(esbuild) {
    esbuild.onResolve({ filter: /.*/ }, async ({ path, kind, importer, resolveDir, pluginData }) => {
      if (kind === 'entry-point' || pluginData === 'resolved') return undefined;
      const found = await esbuild.resolve(path, { kind, importer, resolveDir, pluginData: 'resolved' });
      const module = relative('', found.path);
      const file = fileOf.get(module) ?? own;
      return file === own ? found : { path: `${file}:${doors.get(file)?.indexOf(module)}`, external: true };
    });
  },
});

async function bundle(file: string, division: Division): Promise<{ file: string; text: string }> {
  const doors = division.doors.get(file) ?? [];
  const contents = [
    ...doors.map((door, n) => `export const door${n} = () => require(${JSON.stringify(`./${door}`)});`),
    ...(file === 'app' ? [`require('./${main}');`] : []),
  ];
  const { outputFiles } = await build({
    ...options,
    stdin: { contents: contents.join('\n'), resolveDir: process.cwd(), sourcefile: `${file}.js` },
    plugins: [oneFile(file, division)],
    write: false,
  });
  return { file, text: outputFiles.map(({ text }) => text).join('') };
}

/**
 * Runs the files from the code that V8 has compiled in an earlier process. `enableCompileCache` keeps what is compiled as
 * a file is loaded; this keeps what was compiled when the first command of a word has ended, which is what that command
 * runs: 17 ms less for `run`. V8 itself refuses a cache of another version or of other flags.
 */
const words = [...new Set(entries.map(({ name }) => name.split(' ', 1)[0]))];
const entryOf = (
  id: string,
  files: readonly string[],
) => `const { mkdirSync, readFileSync, renameSync, writeFileSync } = require('node:fs');
const { Script } = require('node:vm');
const words = ${JSON.stringify(words)};
const word = words.includes(process.argv[2]) && !process.argv.includes('--help') ? process.argv[2] : undefined;
const loaded = new Map();
const fresh = [];
function load(name) {
  const there = loaded.get(name);
  if (there) return there.exports;
  const module = { exports: {} };
  loaded.set(name, module);
  const file = '/' + name + '-${id}.js';
  const filename = __dirname + file;
  const cache = word && __dirname + '/cache/' + word + file;
  let cachedData;
  try {
    cachedData = cache && readFileSync(cache);
  } catch {}
  const source = '(function (require, module) {' + readFileSync(filename, 'latin1') + '})';
  const script = new Script(source, { filename, cachedData });
  if (cache && script.cachedDataRejected !== false) fresh.push({ cache, script });
  script.runInThisContext()(required, module);
  return module.exports;
}
function required(name) {
  const [file, door] = name.split(':');
  return file === 'node' || !door ? require(name) : load(file)['door' + door]();
}
process.once('exit', code => {
  if (code !== 0 || fresh.length === 0) return;
  try {
    mkdirSync(__dirname + '/cache/' + word, { recursive: true });
    for (const { cache, script } of fresh) {
      writeFileSync(cache + '.' + process.pid, script.createCachedData());
      renameSync(cache + '.' + process.pid, cache);
    }
  } catch {}
});
// The agent goes on when another build has taken the place of this one.
if (word === 'kubelet' && !process.argv[3]?.match(/^[a-z]/)) ${JSON.stringify(files)}.forEach(load);
load('app');
`;

try {
  const { metafile } = await build({ ...options, entryPoints: [main], metafile: true, write: false });
  const division = divide(metafile.inputs);
  const files = await Promise.all([...division.doors.keys()].map(file => bundle(file, division)));
  // Files of two builds are never mixed: a command that runs while it is replaced does not find what it has not read yet.
  const id = createHash('sha256').update(JSON.stringify(files)).digest('hex').slice(0, 12);
  await mkdir(fresh);
  for (const { file, text } of files) await writeFile(`${fresh}/${file}-${id}.js`, text);
  const others = files.map(({ file }) => file).filter(file => file !== 'app');
  await writeFile(`${fresh}/spawnlet.cjs`, entryOf(id, others));
  // A command that runs meanwhile finds the old bundle or the new one, whole.
  await rename('dist', old).catch(() => undefined);
  await rename(fresh, 'dist');
} finally {
  await rm(old, { recursive: true, force: true });
  await rm(fresh, { recursive: true, force: true });
}
