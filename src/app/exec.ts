import { execIn, type ProcessSpec } from '../engine/exec.ts';
import { runDirectoryOf } from '../engine/script.ts';
import { SpawnletError } from '../host/error.ts';
import { lookupUser } from '../image/user.ts';
import { type App, type AppDependencies, refuseNspawn, runningApp } from './observe.ts';
import { mergeEnv, processUser } from './spec.ts';
import { execHint, startFailure } from './status.ts';

/** What `exec` changes of the container's own process. */
export interface ExecChange {
  readonly args: readonly string[];
  readonly env: readonly string[];
  readonly cwd: string | undefined;
  readonly terminal: boolean;
  /** `USER[:GROUP]`, looked up in the container; undefined for the container's own. */
  readonly user: string | undefined;
}

/** Runs a command in a running container; gives its exit code. The signals that are taken go to the command. */
export async function execInApp(
  deps: AppDependencies,
  name: string,
  change: ExecChange,
  stdio: 'inherit' | 'ignore-input',
  takeSignals: (handler: (signal: NodeJS.Signals) => void) => void,
  signal: AbortSignal,
): Promise<number> {
  const app = await runningApp(deps, name, signal);
  refuseNspawn(app, 'exec');
  // The size is that of the terminal that the container was made on.
  const { consoleSize: _size, ...process } = app.bundle.process;
  const other = change.user === undefined ? undefined : await userIn(deps, app, change.user);
  const spec: ProcessSpec = {
    ...process,
    ...(other && { user: other.user }),
    args: change.args,
    env: mergeEnv(process.env, other?.env ?? [], change.terminal ? ['TERM=xterm'] : [], change.env),
    cwd: change.cwd ?? process.cwd,
    terminal: change.terminal,
  };
  const end = await execIn(
    deps.host,
    name,
    spec,
    [stdio === 'inherit' ? 'inherit' : 'ignore', 'inherit', 'inherit'],
    (_child, send) => takeSignals(send),
  );
  if (end.kind === 'exited') return end.exitCode;
  // Why not, crun has told on standard error, which is the command's too.
  const failure = startFailure(end.text);
  throw new SpawnletError('ERR_EXEC', `${name} did not run ${change.args[0]}`, {
    exitCode: failure.exitCode,
    hint: execHint(failure, 'name a directory with -w that is in the container, and that its user may enter'),
  });
}

/**
 * A user of the container as it is now, with the home directory as variable where neither the image nor `run` has set it.
 */
async function userIn(
  deps: AppDependencies,
  app: App,
  user: string,
): Promise<{ user: ProcessSpec['user']; env: readonly string[] }> {
  const [{ readInside }, pid = ''] = await Promise.all([
    import('./inside.ts'),
    deps.host.files.read(`${runDirectoryOf(app.name)}/pid`),
  ]);
  const found = lookupUser(path => readInside(`/proc/${pid.trim()}/root`, path), user);
  const store = await deps.store();
  const image = await store.find(app.imageDigest);
  const set = [...(image?.config.env ?? []), ...app.request.env].some(entry => entry.startsWith('HOME='));
  return { user: processUser(found), env: set ? [] : [`HOME=${found.home}`] };
}
