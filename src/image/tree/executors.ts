import type { Readable } from 'node:stream';
import { type Children, ended } from '../../host/child.ts';
import { messageOf, SpawnletError } from '../../host/error.ts';
import type { Host } from '../../host/host.ts';
import type { Executors } from '../../host/step.ts';
import { removeTree } from '../../host/subvolume.ts';
import { basesDirectory } from '../../names.ts';
import type { SystemdClient } from '../../systemd/client.ts';
import { environmentFile } from '../../systemd/escape.ts';
import { type Base, type BaseRecord, Bases, lockBase, lockOf, type Places, placesOf } from './bases.ts';
import { asFull, bootstrapArgv, buildersOf, findBuilder } from './bootstrap.ts';
import type { Built } from './build.ts';
import { linesOf, parseProgress, type Tell } from './progress.ts';
import { differences, isOf, type Recipe } from './recipe.ts';
import { formatTreeSource, shownSource } from './source.ts';

/** Changes to bases. A base is there whole or not at all; what a killed command has left of one is removed. */
export type TreeStep =
  | {
      readonly do: 'build-base';
      readonly name: string;
      readonly recipe: Recipe;
      /** A base that was made before this moment (milliseconds since 1970) is replaced. */
      readonly rebuild?: number;
    }
  | { readonly do: 'remove-base'; readonly name: string };

export interface TreeDependencies {
  readonly host: Host;
  readonly systemd: () => Promise<SystemdClient>;
  /** The words that run this spawnlet again. */
  readonly words: readonly string[];
  readonly env: NodeJS.ProcessEnv;
  /** Who is told what a build does. */
  readonly building?: Tell;
}

export const unitOf = (name: string): string => `spawnlet-base-${name}.service`;

/** Refuses to replace a base that was made by another recipe, unless that is wanted: `ERR_BASE_CHANGED`. */
export function checkRecipe(there: Base | undefined, recipe: Recipe, rebuild: number | undefined): void {
  if (!there || rebuild !== undefined || isOf(there, recipe)) return;
  const what = differences(there.recipe, recipe).join(', ');
  throw new SpawnletError(
    'ERR_BASE_CHANGED',
    `base ${there.name} is there, made by another recipe (${what}) from ${shownSource(there.recipe.source)}`,
    { hint: '--rebuild makes it anew, or choose another name' },
  );
}

/** Refuses what would take the tree from under its clones: `ERR_BASE_IN_USE`. */
export function checkUnused(name: string, machines: readonly string[]): void {
  if (machines.length === 0) return;
  throw new SpawnletError('ERR_BASE_IN_USE', `base ${name} is in use: ${machines.join(', ')}`, {
    hint: `these machines are clones of it: spawnlet machine rm ${machines.join(' ')}`,
  });
}

export function treeExecutors(dependencies: TreeDependencies): Executors<TreeStep> {
  const { host } = dependencies;
  const { files, locks } = host;
  const bases = new Bases(files);
  const isDone = async ({ name, recipe, rebuild = 0 }: TreeStep & { do: 'build-base' }) => {
    const there = await bases.find(name);
    return there !== undefined && isOf(there, recipe) && there.created >= rebuild;
  };

  /** Ends the unit of a build that was left alone, and takes away what it made; puts a base back that was to be replaced. */
  async function takeBack(name: string, signal: AbortSignal): Promise<void> {
    const places = placesOf(name);
    if (await files.look(places.building)) {
      await endUnit(dependencies, name, signal);
      await removeTree(host, places.building);
    }
    if (!(await files.look(places.withdrawn))) return;
    if (await files.look(places.record)) await removeTree(host, places.withdrawn);
    else await files.move(places.withdrawn, places.directory);
  }

  async function build(step: TreeStep & { do: 'build-base' }, signal: AbortSignal): Promise<void> {
    const { name, recipe } = step;
    dependencies.building?.({ step: `Building base ${name} from ${shownSource(recipe.source)}` });
    const places = placesOf(name);
    const there = await bases.find(name);
    checkRecipe(there, recipe, step.rebuild);
    if (there) checkUnused(name, await bases.usedBy(name));
    await files.makeDirectory(basesDirectory, 0o700);
    await files.makeDirectory(places.building, 0o700);
    await files.write(places.request, JSON.stringify(recipe), 0o600);
    const { size } = await runUnit(dependencies, name, places, signal);
    const record: BaseRecord = { version: 1, recipe, created: host.clock.now(), size };
    await files.write(`${places.building}/recipe.json`, `${JSON.stringify(record, null, 2)}\n`, 0o600);
    for (const left of await files.list(places.building))
      if (left !== 'tree' && left !== 'recipe.json') await files.remove(`${places.building}/${left}`);
    if (there) await files.move(places.directory, places.withdrawn);
    await files.move(places.building, places.directory);
    await removeTree(host, places.withdrawn);
  }

  return {
    'build-base': {
      describe: ({ name, recipe, rebuild }) =>
        `${rebuild === undefined ? 'build' : 'build anew'} base ${name} from ${shownSource(recipe.source)}, in ${unitOf(name)}`,
      body: ({ name, recipe }) => describeRecipe(name, recipe),
      satisfied: isDone,
      async apply(step, signal) {
        await using _lock = await lockBase(locks, step.name, signal);
        if (await isDone(step)) return;
        await takeBack(step.name, signal);
        try {
          await build(step, signal);
        } catch (error) {
          await takeBack(step.name, AbortSignal.timeout(60_000));
          signal.throwIfAborted();
          throw asFull(error);
        }
      },
      // A base that is whole stays, as an image does: the next command needs it again.
      async undo({ name }) {
        const signal = AbortSignal.timeout(60_000);
        try {
          await using _lock = await locks.take(lockOf(name));
          await takeBack(name, signal);
        } catch (error) {
          // Another command is at work on it, and cleans up first.
          if (!(error instanceof SpawnletError && error.code === 'ERR_BUSY')) throw error;
        }
      },
    },
    'remove-base': {
      describe: step => `remove base ${step.name}`,
      satisfied: async ({ name }) => {
        const places = placesOf(name);
        for (const path of [places.directory, places.building, places.withdrawn])
          if (await files.look(path)) return false;
        return true;
      },
      async apply({ name }, signal) {
        // Not when it is free: it would be another base then.
        await using _lock = await locks.take(lockOf(name));
        const places = placesOf(name);
        checkUnused(name, await bases.usedBy(name));
        await endUnit(dependencies, name, signal);
        await removeTree(host, places.building);
        // What is half removed has not the name of a base.
        await removeTree(host, places.withdrawn);
        if (await files.look(places.directory)) await files.move(places.directory, places.withdrawn);
        await removeTree(host, places.withdrawn);
      },
    },
  };
}

/** What `--dry-run` shows of a recipe. */
function describeRecipe(name: string, recipe: Recipe): string {
  const [builder] = buildersOf(recipe);
  const { newTree } = placesOf(name);
  const lines = [
    builder === undefined
      ? formatTreeSource(recipe.source)
      : bootstrapArgv(recipe, builder, newTree, 'settings').join(' '),
    ...(builder === undefined && recipe.packages.length > 0
      ? [`packages: ${recipe.packages.join(' ')}`]
      : []),
    ...recipe.copy.map(({ source, target }) => `copy ${source} to ${target}`),
    ...recipe.run.map(
      ({ path }) =>
        `run ${path}, ${recipe.network === 'none' ? 'without network' : "with the host's network"}`,
    ),
  ];
  return lines.join('\n');
}

/** Ends the unit of a build, if it runs. Where there is no systemd there is no unit. */
async function endUnit({ systemd }: TreeDependencies, name: string, signal: AbortSignal): Promise<void> {
  try {
    await (await systemd()).stopUnit(unitOf(name), 'replace', signal);
  } catch (error) {
    if (!(error instanceof SpawnletError && error.code === 'ERR_NO_SYSTEMD')) throw error;
  }
}

const path = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
const proxies = ['HTTPS_PROXY', 'HTTP_PROXY', 'NO_PROXY', 'https_proxy', 'http_proxy', 'no_proxy'];

/** The proxies' passwords are in a file that root alone reads, and not in the unit. */
function environmentOf(env: NodeJS.ProcessEnv): string {
  const set = { PATH: path, HOME: '/root', LANG: 'C.UTF-8' } as Record<string, string>;
  for (const key of proxies) if (env[key] !== undefined) set[key] = env[key];
  return environmentFile(set);
}

/**
 * Builds in a unit of its own. It has a mount namespace, so that nothing stays mounted however it ends; its end is that
 * of every process of the build. The unit tells what came of it on its standard output, so also when the disk is full.
 */
async function runUnit(
  dependencies: TreeDependencies,
  name: string,
  places: Places,
  signal: AbortSignal,
): Promise<Built> {
  const { host, words, env, systemd } = dependencies;
  await systemd();
  await findBuilder(host, JSON.parse((await host.files.read(places.request)) ?? '{}') as Recipe);
  const environment = `${places.building}/environment`;
  await host.files.write(environment, environmentOf(env), 0o600);
  const properties = [
    `Description=Build base ${name} for spawnlet`,
    'PrivateMounts=yes',
    'KillMode=control-group',
    // It has nothing to save, and programs that wait in namespaces do not hear SIGTERM.
    'KillSignal=SIGKILL',
    'TasksMax=infinity',
    `EnvironmentFile=${environment}`,
  ];
  const argv = [
    'systemd-run',
    '--quiet',
    '--wait',
    '--pipe',
    '--collect',
    `--unit=${unitOf(name)}`,
    ...properties.map(property => `--property=${property}`),
    '--',
    ...words,
    'base',
    'build',
    name,
  ];
  const { code, answer, stderr } = await hear(host.children, argv, dependencies.building, signal);
  if (answer?.built) return answer.built;
  if (answer?.error)
    throw new SpawnletError(answer.error.code, answer.error.message, { hint: answer.error.hint });
  throw new SpawnletError(
    'ERR_TREE_BUILD',
    `the build of base ${name} was cut off (${code}): ${stderr.trim().slice(-2000)}`,
    { hint: `journalctl -u ${unitOf(name)}` },
  );
}

/** Runs the unit to its end, and passes on what it tells meanwhile. */
async function hear(
  children: Children,
  argv: readonly string[],
  building: Tell | undefined,
  signal: AbortSignal,
): Promise<{ readonly code: number; readonly answer: Answer | undefined; readonly stderr: string }> {
  const child = children.spawn(argv, { stdio: ['ignore', 'pipe', 'pipe'], signal });
  const end = ended(child);
  let last = '';
  let stderr = '';
  const lines = linesOf(line => {
    last = line;
    const event = parseProgress(line);
    if (event) building?.(event);
  });
  (child.stdout as Readable).setEncoding('utf8').on('data', lines);
  (child.stderr as Readable).setEncoding('utf8').on('data', (text: string) => {
    stderr = (stderr + text).slice(-sayingMax);
  });
  try {
    return { code: await end, answer: parseAnswer(last), stderr };
  } finally {
    signal.throwIfAborted();
  }
}

/** What is kept of what systemd-run says. */
const sayingMax = 16_384;

/** What the unit says of itself: the last line of its output. */
export type Answer =
  | { readonly built: Built; readonly error?: undefined }
  | {
      readonly built?: undefined;
      readonly error: { readonly code: `ERR_${string}`; readonly message: string; readonly hint: string };
    };

function parseAnswer(text: string): Answer | undefined {
  try {
    return JSON.parse(text) as Answer;
  } catch {
    return undefined;
  }
}

export function answerOf(error: unknown): Answer {
  const known = error instanceof SpawnletError ? error : undefined;
  const hint = known?.hint ?? '';
  return { error: { code: known?.code ?? 'ERR_TREE_BUILD', message: messageOf(error), hint } };
}
