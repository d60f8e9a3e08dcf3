import { SpawnletError } from '../host/error.ts';
import { type Base, Bases, lockOf, placesOf } from '../image/tree/bases.ts';
import { findBuilder } from '../image/tree/bootstrap.ts';
import { checkUnused, type TreeStep } from '../image/tree/executors.ts';
import { baseSteps, readRecipe } from '../image/tree/inputs.ts';
import type { BuildProgress } from '../image/tree/progress.ts';
import type { Recipe } from '../image/tree/recipe.ts';
import { parseBaseName, parseTreeSource, shownSource } from '../image/tree/source.ts';
import { defineCommand, dryRunOption, outputOption } from './command.ts';
import type { AnyStep, Context } from './context.ts';
import { ago, bytes, type List, printList, rfc3339 } from './output.ts';
import { showBuild } from './progress.ts';

const words = (values: readonly string[]) => values.flatMap(text => text.split(',')).filter(Boolean);

async function apply(
  context: Context,
  title: string,
  ifInterrupted: 'undo' | 'finish',
  steps: readonly AnyStep[],
  dryRun: boolean,
): Promise<void> {
  const applier = await context.applier();
  const plan = { title, ifInterrupted, steps };
  if (dryRun) process.stdout.write(await applier.dryRun(plan));
  else await applier.apply(plan, context.signal);
}

export const prepare = defineCommand({
  name: 'base prepare',
  group: 'Machines',
  summary: 'Make a tree that machines are cloned from',
  synopsis: 'NAME --from SOURCE [FLAG…]',
  arity: [1, 1],
  options: {
    from: {
      type: 'string',
      value: 'SOURCE',
      help: 'debian:SUITE, ubuntu:SUITE, arch, fedora:N, tar:FILE|URL, oci:IMAGE, dir:PATH, machine:NAME, base:NAME',
    },
    packages: {
      type: 'strings',
      short: 'p',
      value: 'NAME,…',
      help: 'packages beside those that a machine needs',
    },
    components: {
      type: 'strings',
      value: 'NAME,…',
      help: 'of a Debian archive (default main); repositories of Arch',
    },
    mirror: { type: 'string', value: 'URL', help: "another than the distribution's own" },
    keyring: {
      type: 'string',
      value: 'FILE',
      help: 'keys that may have signed packages, or the archive of tar:',
    },
    sha256: { type: 'string', value: 'DIGEST', help: 'of the archive of tar:' },
    signature: { type: 'string', value: 'FILE|URL', help: 'of the archive of tar:; goes with --keyring' },
    insecure: { type: 'boolean', help: 'take what nobody signed, and a URL without checksum' },
    run: { type: 'strings', value: 'SCRIPT', help: 'run a script of this host in the tree, without network' },
    network: {
      type: 'string',
      value: 'NETWORK',
      choices: ['none', 'host'],
      help: 'what --run can reach (default none)',
    },
    copy: { type: 'strings', value: 'SRC:DST', help: 'copy a file or directory of this host into the tree' },
    rebuild: { type: 'boolean', help: 'make it anew, from whatever the source has now' },
    quiet: { type: 'boolean', short: 'q', help: 'print the name alone' },
    ...dryRunOption,
  },
  examples: [
    ['spawnlet base prepare deb --from debian:bookworm', 'with systemd, D-Bus and a package manager'],
    [
      'spawnlet base prepare web --from debian:bookworm --packages nginx,curl --copy ./site:/var/www',
      'with more in it',
    ],
    ['spawnlet base prepare jammy --from ubuntu:jammy --components main,universe', 'Ubuntu'],
    [
      'spawnlet base prepare alpine --from tar:alpine.tar.xz --run setup.sh',
      'a root file system that you have',
    ],
    [
      'spawnlet base prepare os --from oci:docker.io/library/debian:12 --packages systemd-sysv',
      'an image of containers',
    ],
  ],
  async run({ options, arguments: [argument = ''] }, context) {
    const name = parseBaseName(argument);
    const { host } = context;
    if (options.from === undefined)
      throw new SpawnletError('ERR_USAGE', 'base prepare needs --from', {
        hint: `spawnlet base prepare ${name} --from debian:bookworm`,
      });
    const recipe = await recipeFrom({ ...options, from: options.from }, context);
    await findBuilder(host, recipe);
    const rebuild = options.rebuild ? host.clock.now() : undefined;
    await context.applier();
    const bases = new Bases(host.files);
    const steps = await baseSteps(bases, name, recipe, rebuild);
    if (steps.length > 0 && (await bases.find(name))) checkUnused(name, await bases.usedBy(name));
    {
      using _progress = options.quiet ? undefined : showBuild(context);
      await apply(context, `base prepare ${name}`, 'undo', steps, options['dry-run']);
    }
    if (options['dry-run']) return 0;
    const { size } = await bases.get(name);
    if (options.quiet) {
      process.stdout.write(`${name}\n`);
      return 0;
    }
    const what = steps.length > 0 ? bytes(size) : 'there already, of this recipe';
    process.stdout.write(`${name}: ${what}\n`);
    return 0;
  },
});

/** Flags of `base prepare` that say what the tree follows from. */
interface Asked {
  readonly from: string;
  readonly packages: readonly string[];
  readonly components: readonly string[];
  readonly mirror: string | undefined;
  readonly keyring: string | undefined;
  readonly sha256: string | undefined;
  readonly signature: string | undefined;
  readonly insecure: boolean;
  readonly run: readonly string[];
  readonly copy: readonly string[];
  readonly network: string | undefined;
}

function recipeFrom(asked: Asked, { host, signal }: Context): Promise<Recipe> {
  const { sha256, mirror, keyring, signature, insecure, run, copy } = asked;
  const source = parseTreeSource(sha256 === undefined ? asked.from : `${asked.from}#sha256=${sha256}`);
  if (sha256 !== undefined && source.kind !== 'tar')
    throw new SpawnletError('ERR_FLAG_CONFLICT', '--sha256 is of the archive of --from tar:', {
      hint: 'leave it out',
    });
  const words_ = {
    packages: words(asked.packages),
    components: words(asked.components),
    insecure,
    run,
    copy,
    network: asked.network === 'host' ? 'host' : 'none',
    ...(mirror !== undefined && { mirror }),
    ...(keyring !== undefined && { keyring }),
    ...(signature !== undefined && { signature }),
  } as const;
  return readRecipe(host, source, words_, signal);
}

interface Row {
  readonly name: string;
  readonly source: string;
  /** Bytes. */
  readonly size: number;
  readonly created: string | null;
  readonly clones: readonly string[];
  readonly path: string;
  readonly recipe: Recipe;
}

const rowOf = (base: Base, clones: readonly string[]): Row => ({
  name: base.name,
  source: shownSource(base.recipe.source),
  size: base.size,
  created: rfc3339(base.created),
  clones,
  path: base.tree,
  recipe: base.recipe,
});

const list = (now: number): List<Row> => ({
  columns: [
    ['NAME', row => row.name],
    ['SOURCE', row => row.source],
    ['SIZE', row => bytes(row.size)],
    ['CREATED', row => (row.created === null ? '' : ago(Date.parse(row.created), now))],
    ['CLONES', row => row.clones.join(', ')],
  ],
  key: row => row.name,
});

export const ls = defineCommand({
  name: 'base ls',
  group: 'Machines',
  summary: 'List bases',
  synopsis: '[FLAG…]',
  arity: [0, 0],
  options: { quiet: { type: 'boolean', short: 'q', help: 'names only' }, ...outputOption },
  examples: [
    ['spawnlet base ls', 'with the machines that are clones of each'],
    ['spawnlet base ls -o yaml', 'with their recipes'],
  ],
  async run({ options }, { host }) {
    const bases = new Bases(host.files);
    const uses = await bases.uses();
    const rows = (await bases.list()).map(base => rowOf(base, uses.get(base.name) ?? []));
    await printList(rows, list(host.clock.now()), options);
    return 0;
  },
});

async function remove(
  context: Context,
  title: string,
  names: readonly string[],
  dryRun: boolean,
): Promise<void> {
  const steps = names.map((name): TreeStep => ({ do: 'remove-base', name }));
  for (const step of steps) await apply(context, title, 'finish', [step], dryRun);
  if (!dryRun) process.stdout.write(names.map(name => `${name}\n`).join(''));
}

export const rm = defineCommand({
  name: 'base rm',
  group: 'Machines',
  summary: 'Remove bases',
  synopsis: '[FLAG…] NAME…',
  arity: [1, Number.POSITIVE_INFINITY],
  options: dryRunOption,
  examples: [['spawnlet base rm deb', 'refused while machines are clones of it']],
  async run({ options, arguments: names }, context) {
    await context.applier();
    const bases = new Bases(context.host.files);
    for (const name of names) {
      await bases.get(name);
      checkUnused(name, await bases.usedBy(name));
    }
    await remove(context, `base rm ${names.join(' ')}`, names, options['dry-run']);
    return 0;
  },
});

/** Nobody makes or clones it at this moment. */
async function isFree({ host }: Context, name: string): Promise<boolean> {
  try {
    await using _lock = await host.locks.take(lockOf(name));
    return true;
  } catch (error) {
    if (error instanceof SpawnletError && error.code === 'ERR_BUSY') return false;
    throw error;
  }
}

export const prune = defineCommand({
  name: 'base prune',
  group: 'Machines',
  summary: 'Remove bases that no machine is a clone of',
  synopsis: '[FLAG…]',
  arity: [0, 0],
  options: dryRunOption,
  examples: [['spawnlet base prune --dry-run', 'tells which these are']],
  async run({ options }, context) {
    await context.applier();
    const bases = new Bases(context.host.files);
    const uses = await bases.uses();
    const unused = (await bases.list()).filter(base => !uses.has(base.name));
    const left = (await bases.remains()).filter(name => !uses.has(name));
    const names: string[] = [];
    for (const name of [...new Set([...unused.map(base => base.name), ...left])].sort())
      if (await isFree(context, name)) names.push(name);
    await remove(context, 'base prune', names, options['dry-run']);
    const freed = unused.reduce((sum, base) => sum + base.size, 0);
    if (names.length > 0 && !options['dry-run']) process.stderr.write(`freed ${bytes(freed)}\n`);
    return 0;
  },
});

/** What the unit of a build runs; see `runUnit` of the executors. It tells what came of it on standard output. */
export const build = defineCommand({
  name: 'base build',
  group: 'Machines',
  summary: 'Build the tree of a base that is being prepared',
  synopsis: 'NAME',
  arity: [1, 1],
  options: {},
  examples: [['spawnlet base build deb', 'what spawnlet-base-deb.service does']],
  async run({ arguments: [argument = ''] }, context) {
    const { host, env, signal } = context;
    const [{ answerOf }, { buildTree }] = await Promise.all([
      import('../image/tree/executors.ts'),
      import('../image/tree/build.ts'),
    ]);
    const places = placesOf(parseBaseName(argument));
    const text = await host.files.read(places.request);
    if (text === undefined)
      throw new SpawnletError('ERR_USAGE', `base ${argument} is not being prepared`, {
        hint: `spawnlet base prepare ${argument}`,
      });
    try {
      // Whoever has asked may be gone: that ends no build, since the next command does.
      process.stdout.on('error', () => undefined);
      const tell = (event: BuildProgress) => void process.stdout.write(`${JSON.stringify(event)}\n`);
      const built = await buildTree(
        { host, store: () => context.store(), env, tell },
        JSON.parse(text) as Recipe,
        places,
        signal,
      );
      process.stdout.write(`${JSON.stringify({ built })}\n`);
      return 0;
    } catch (error) {
      process.stdout.write(`${JSON.stringify(answerOf(error))}\n`);
      return 1;
    }
  },
});
