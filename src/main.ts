/** Puts the rooms together: finds the command, gives it what it works with, tells its error. */

import { inspect } from 'node:util';
import { parseInput } from './cli/command.ts';
import type { AnyStep, Context } from './cli/context.ts';
import { entries, findEntry } from './cli/registry.ts';
import { isErrno, SpawnletError } from './host/error.ts';

const caught: readonly NodeJS.Signals[] = ['SIGINT', 'SIGTERM', 'SIGHUP'];

/** Loaded once, when first asked for. */
function once<T>(load: () => Promise<T>): () => Promise<T> {
  let value: Promise<T> | undefined;
  return () => (value ??= load());
}

async function makeContext(argv: readonly string[]): Promise<Context & AsyncDisposable> {
  const [{ realHost }, names] = await Promise.all([import('./host/host.ts'), import('./names.ts')]);
  const host = realHost(names.lockDirectory, `spawnlet ${argv.slice(0, 2).join(' ')}`);
  const abort = new AbortController();
  const { signal } = abort;
  let onSignal = (name: NodeJS.Signals) => abort.abort(new Interrupted(name));
  for (const name of caught) process.on(name, () => onSignal(name));

  let opened: import('./systemd/client.ts').SystemdClient | undefined;
  const systemd = once(async () => {
    const { SystemdClient } = await import('./systemd/client.ts');
    opened = await SystemdClient.connect({ signal });
    return opened;
  });
  const store = once(async () => (await import('./image/store.ts')).openStore(names.storeDirectory, host));
  const listeners: Context['listeners'] = {};

  const openImage = async (reference: string, wanted: AbortSignal) => {
    const [{ openSource }, { parseReference }] = await Promise.all([
      import('./image/source-of.ts'),
      import('./image/reference.ts'),
    ]);
    const options = { host, env: process.env, tlsVerify: context.tlsVerify };
    return openSource(parseReference(reference), options, wanted);
  };

  const applier = once(async () => {
    const [
      { makeApplier },
      { hostExecutors },
      { systemdExecutors },
      { imageExecutors },
      { allLabExecutors },
    ] = await Promise.all([
      import('./host/apply.ts'),
      import('./host/step.ts'),
      import('./systemd/executors.ts'),
      import('./image/executors.ts'),
      import('./lab/step.ts'),
    ]);
    const made = makeApplier<AnyStep>(
      {
        ...hostExecutors(host.files, host.children),
        ...systemdExecutors(systemd),
        ...imageExecutors({
          store: await store(),
          host,
          open: openImage,
          inUse: async () => (await context.apps()).inUse(signal),
          progress: event => listeners.progress?.(event),
          pulled: image => listeners.pulled?.(image),
          removed: removed => listeners.removed?.(removed),
        }),
        ...allLabExecutors(host),
      },
      host.files,
      host.locks,
      names.journalDirectory,
    );
    for (const title of await made.recover(signal))
      process.stderr.write(`cleaned up after '${title}', which was cut off\n`);
    return made;
  });

  const words = [process.execPath, ...process.execArgv, process.argv[1] ?? ''];
  const context: Context & AsyncDisposable = {
    host,
    signal,
    env: process.env,
    words,
    listeners,
    tlsVerify: true,
    applier,
    store,
    systemd,
    apps: once(async () => {
      const [{ Apps }, made] = await Promise.all([import('./app/app.ts'), applier()]);
      return new Apps({
        host,
        applier: made,
        systemd,
        words,
        store,
        open: openImage,
        apply: (step, wanted) =>
          made.apply(
            {
              title: `pull ${'reference' in step ? step.reference : ''}`,
              ifInterrupted: 'undo',
              steps: [step],
            },
            wanted,
          ),
      });
    }),
    takeSignals(handler) {
      onSignal = handler;
    },
    async [Symbol.asyncDispose]() {
      await opened?.[Symbol.asyncDispose]();
    },
  };
  return context;
}

/** The user's SIGINT or SIGTERM: no error to tell, and the exit code that a shell gives it. */
class Interrupted extends Error {
  readonly signal: NodeJS.Signals;

  constructor(signal: NodeJS.Signals) {
    super(`interrupted by ${signal}`);
    this.signal = signal;
  }
}

async function main(argv: readonly string[]): Promise<number> {
  const words = argv.filter((word, index) => !(word === '--debug' && index === 0));
  const [first] = words;
  if (first === undefined || first === 'help' || first === '--help' || first === '-h') {
    const { helpOfAll } = await import('./cli/help.ts');
    const named = first === 'help' ? findEntry(words.slice(1)) : undefined;
    if (!named) {
      process.stdout.write(helpOfAll(entries));
      return first === undefined ? 125 : 0;
    }
    const { helpOf } = await import('./cli/help.ts');
    process.stdout.write(helpOf(await named.entry.load()));
    return 0;
  }
  const found = findEntry(first === '--version' ? ['version'] : words);
  if (!found) {
    const below = entries
      .filter(entry => entry.name.startsWith(`${first} `))
      .map(entry => entry.name.slice(first.length + 1));
    throw new SpawnletError(
      'ERR_USAGE',
      below.length > 0 ? `${first} needs one of ${below.join(', ')}` : `there is no command '${first}'`,
      {
        hint: 'spawnlet help',
      },
    );
  }
  const command = await found.entry.load();
  const input = parseInput(command, found.rest);
  if (input === 'help') {
    const { helpOf } = await import('./cli/help.ts');
    process.stdout.write(helpOf(command));
    return 0;
  }
  if (command.name === 'version') return command.run(input, {} as Context);
  if (process.getuid?.() !== 0) {
    throw new SpawnletError('ERR_NOT_ROOT', `spawnlet ${command.name} has to run as root`, {
      hint: `sudo spawnlet ${words.join(' ')}`,
    });
  }
  await using context = await makeContext(words);
  return await command.run(input, context);
}

function tell(error: unknown, debug: boolean): number {
  if (error instanceof Interrupted)
    return 128 + (error.signal === 'SIGINT' ? 2 : error.signal === 'SIGTERM' ? 15 : 1);
  // Whoever read the output has gone: nothing to tell.
  if (isErrno(error, 'EPIPE')) return 141;
  if (error instanceof SpawnletError) {
    const hint = error.hint ? `\n  ${error.hint}` : '';
    process.stderr.write(`spawnlet: ${error.message} [${error.code}]${hint}\n`);
    if (debug) process.stderr.write(`${inspect(error)}\n`);
    return error.exitCode;
  }
  const known = error instanceof Error ? error.message : String(error);
  process.stderr.write(
    `spawnlet: ${known} [ERR_INTERNAL]\n  this is a defect of spawnlet: --debug shows where\n`,
  );
  if (debug) process.stderr.write(`${inspect(error)}\n`);
  return 125;
}

const argv = process.argv.slice(2);
process.stdout.on('error', (error: unknown) => process.exit(tell(error, false)));
try {
  process.exitCode = await main(argv);
} catch (error) {
  process.exitCode = tell(error, argv[0] === '--debug');
}
