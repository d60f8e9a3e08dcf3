import type { Diagnosis } from '../app/doctor/diagnosis.ts';
import { isErrno, SpawnletError } from '../host/error.ts';
import type {
  AdoptReport,
  Changed,
  ExecOptions,
  LogOptions,
  MachineChange,
  MachineRow,
  MachineStatus,
  MachinesApi,
  Place,
  SnapshotRow,
} from './api.ts';
import { type MachineDependencies, type Parts } from './change.ts';
import type { End } from './copy.ts';
import { machineUnit } from './drop-in.ts';
import { listMachines } from './list.ts';
import { findMade, getMade, type Made } from './observe.ts';
import { lockOf, placesOf } from './places.ts';
import type { Running } from './running.ts';
import type { MachineSpec } from './spec.ts';

/** Machines: OS containers of systemd-nspawn, whose files are systemd's own. */
export class Machines implements MachinesApi {
  readonly #deps: MachineDependencies;

  constructor(deps: MachineDependencies) {
    this.#deps = deps;
  }

  /** Throws `ERR_NO_MACHINE`, `ERR_NAME_TAKEN`, `ERR_RUNNING`, `ERR_NOT_RUNNING`. */
  async perform(change: MachineChange, signal: AbortSignal): Promise<Changed> {
    await using _locks = await this.#lock(change);
    const { applier } = this.#deps;
    // It answers while files are read; whoever needs it meets its error.
    this.#deps.systemd().catch(() => undefined);
    const notes: string[] = [];
    let changed = false;
    for await (const part of await partsOf(this.#deps, change, signal)) {
      if (part.do === 'note') notes.push(part.text);
      else if (part.do === 'job') {
        notes.push(...(await part.run(signal)));
        changed = true;
      } else if ((await applier.pending(part.plan)).length > 0) {
        await applier.apply(part.plan, signal);
        changed = true;
      }
    }
    return { changed, notes };
  }

  /** The plan of a change, as text with files as diffs and secrets redacted; without notes for who makes it afterwards. */
  async dryRun(
    change: MachineChange,
    signal: AbortSignal,
    notes: 'shown' | 'left out' = 'shown',
  ): Promise<string> {
    const { applier } = this.#deps;
    const texts: string[] = [];
    try {
      for await (const part of await partsOf(this.#deps, change, signal)) {
        if (part.do === 'note') {
          if (notes === 'shown') texts.push(`note: ${part.text}\n`);
        } else {
          const { steps, ...rest } =
            part.do === 'plan'
              ? part.plan
              : ({ title: change.do, ifInterrupted: 'undo', steps: part.shown } as const);
          const text = await applier.dryRun({ ...rest, steps });
          if (text !== nothing) texts.push(text);
        }
      }
    } catch (error) {
      // What the next part needs is made by the one before, such as a base that is not built yet.
      if (texts.length === 0 || !(error instanceof SpawnletError || isErrno(error, 'ENOENT'))) throw error;
      texts.push(`the rest can be told when that is done: ${error.message}\n`);
    }
    return texts.length === 0 ? nothing : texts.join('');
  }

  /** All machines, by name. */
  async list(signal: AbortSignal): Promise<MachineRow[]> {
    return listMachines(this.#deps.host.files, await this.#deps.systemd(), signal);
  }

  /** Throws `ERR_NO_MACHINE`. */
  async status(name: string, signal: AbortSignal): Promise<MachineStatus> {
    return (await import('./status.ts')).statusOf(this.#deps, name, signal);
  }

  /** What its profiles deny it. Throws `ERR_NO_MACHINE`. */
  async diagnose(name: string, signal: AbortSignal): Promise<Diagnosis[]> {
    const { diagnoseMachine } = await import('./doctor.ts');
    return diagnoseMachine(this.#deps.host, await this.status(name, signal), signal);
  }

  /** Oldest first; to measure them, they are read through. Throws `ERR_NO_MACHINE`. */
  async snapshots(name: string, sizes: 'measured' | 'left out', signal: AbortSignal): Promise<SnapshotRow[]> {
    return (await import('./snapshot.ts')).listSnapshots(this.#deps.host, name, sizes, signal);
  }

  /** The name that the machine in an archive had. Throws `ERR_TREE_ARCHIVE`, `ERR_MACHINE_FILE`. */
  async archivedName(file: string, signal: AbortSignal): Promise<string> {
    return (await (await import('./archive.ts')).specIn(this.#deps.host, file, signal)).name;
  }

  /** What was asked for. Throws `ERR_NO_MACHINE`. */
  async spec(name: string): Promise<MachineSpec> {
    return (await getMade(this.#deps.host.files, name)).spec;
  }

  /** Undefined if there is none. */
  async findSpec(name: string): Promise<MachineSpec | undefined> {
    return (await findMade(this.#deps.host.files, name))?.spec;
  }

  /** What `adopt` would understand. */
  async adoptReport(name: string): Promise<AdoptReport> {
    return (await import('./takeover.ts')).reportOf(this.#deps.host.files, name);
  }

  async exec(
    name: string,
    argv: readonly string[],
    options: ExecOptions,
    signal: AbortSignal,
  ): Promise<number> {
    const [{ execInMachine }, machine] = await Promise.all([
      import('./exec.ts'),
      this.#running(name, signal),
    ]);
    return execInMachine(this.#deps.host, machine, argv, options, signal);
  }

  async shell(name: string, user: string, signal: AbortSignal): Promise<number> {
    const { shellInMachine } = await import('./exec.ts');
    return shellInMachine(this.#deps.host, await this.#running(name, signal), user);
  }

  async login(name: string, signal: AbortSignal): Promise<number> {
    const { loginToMachine } = await import('./exec.ts');
    return loginToMachine(this.#deps.host, await this.#running(name, signal));
  }

  async logs(name: string, options: LogOptions, signal: AbortSignal): Promise<number> {
    const { host } = this.#deps;
    const made = await getMade(host.files, name);
    const { logWords, ofCommand, pathForChild, showLogs } = await import('./logs.ts');
    const isRunning = await this.#running(name, signal).then(
      () => true,
      (error: unknown) => {
        if (error instanceof SpawnletError && error.code === 'ERR_NOT_RUNNING') return false;
        throw error;
      },
    );
    const asked = ofCommand(made.spec, options);
    if (isRunning || asked.of !== 'journal') return showLogs(host, logWords(name, undefined, asked), signal);
    const { treeOfMachine, viewTree } = await import('./tree-view.ts');
    using view = await viewTree(treeOfMachine(made));
    return await showLogs(host, logWords(name, pathForChild(view.path), options), signal);
  }

  /** systemd-cgtop(1) of one machine, or of all that run. */
  async top(names: readonly string[], signal: AbortSignal): Promise<number> {
    const [name, ...more] = names;
    const { showTop } = await import('./top.ts');
    if (name !== undefined) await this.#running(name, signal);
    const one = name !== undefined && more.length === 0 ? `/${machineUnit(name)}` : '';
    return showTop(this.#deps.host, `/machine.slice${one}`, signal);
  }

  async copy(from: Place, to: Place, signal: AbortSignal): Promise<void> {
    const { copyFiles } = await import('./copy.ts');
    using views = new DisposableStack();
    const source = await this.#end(
      from,
      async made => {
        const { treeOfMachine, viewTree } = await import('./tree-view.ts');
        return views.use(await viewTree(treeOfMachine(made))).path;
      },
      signal,
    );
    const target = await this.#end(
      to,
      async made => {
        await (await import('./tree-view.ts')).mountTree(this.#deps, made, signal);
        return placesOf(made.spec.name).tree;
      },
      signal,
    );
    await copyFiles(this.#deps.host, source, target, signal);
  }

  /** `rootOf` gives the tree of a machine that does not run. */
  async #end(place: Place, rootOf: (made: Made) => Promise<string>, signal: AbortSignal): Promise<End> {
    if (place.kind === 'host') return place;
    const { machine: name, path } = place;
    const { host } = this.#deps;
    const made = await getMade(host.files, name);
    const { isUp, unitState } = await import('./observe.ts');
    if (isUp(await unitState(await this.#deps.systemd(), placesOf(name).unit, signal)))
      return { kind: 'running', machine: await this.#running(name, signal), path };
    return { kind: 'stopped', machine: name, root: await rootOf(made), path };
  }

  async #running(name: string, signal: AbortSignal): Promise<Running> {
    return (await import('./job.ts')).runningOf(this.#deps, name, signal);
  }

  /** The machines that a change is about; whoever else changes one is refused with `ERR_BUSY`. */
  async #lock(change: MachineChange): Promise<AsyncDisposable> {
    const locks = new AsyncDisposableStack();
    // To start and to stop is systemd's, which does one of them at a time: who starts has the lock until the job is queued.
    if (['start', 'stop', 'restart', 'kill'].includes(change.do)) return locks;
    // An import locks its name itself, when only its plan is shown, too: it removes what lies where it unpacks.
    if (change.do === 'import') return locks;
    const names = 'spec' in change ? [change.spec.name] : 'name' in change ? [change.name] : [];
    // What a machine is made from stays as it is until it is made.
    const from = change.do === 'create' && change.spec.from.kind === 'machine' ? [change.spec.from.name] : [];
    const all = [...names, ...from, ...('to' in change ? [change.to] : [])];
    try {
      for (const name of [...new Set(all)].sort()) locks.use(await this.#deps.host.locks.take(lockOf(name)));
    } catch (error) {
      await locks.disposeAsync();
      throw error;
    }
    return locks;
  }
}

const nothing = 'nothing to do\n';

/** The parts of a change; what makes them is loaded for it alone. */
async function partsOf(
  deps: MachineDependencies,
  change: MachineChange,
  signal: AbortSignal,
): Promise<Parts> {
  switch (change.do) {
    case 'create':
      return (await import('./create.ts')).create(deps, change, signal);
    case 'apply':
      return (await import('./create.ts')).apply(deps, change.spec, signal);
    case 'clone':
      return (await import('./create.ts')).clone(deps, change, signal);
    case 'start':
      return (await import('./job.ts')).startMade(deps, change.name, signal);
    case 'stop':
      return (await import('./job.ts')).stop(deps, change, signal);
    case 'restart':
      return (await import('./job.ts')).restart(deps, change, signal);
    case 'kill':
      return (await import('./job.ts')).kill(deps, change, signal);
    case 'remove':
      return (await import('./remove.ts')).remove(deps, change, signal);
    case 'enable':
    case 'disable':
      return (await import('./create.ts')).enable(deps, change, signal);
    case 'rename':
      return (await import('./rename.ts')).rename(deps, change, signal);
    case 'snapshot':
      return (await import('./snapshot.ts')).snapshot(deps, change, signal);
    case 'restore':
      return (await import('./snapshot.ts')).restore(deps, change, signal);
    case 'remove-snapshot':
      return (await import('./snapshot.ts')).removeSnapshot(deps, change);
    case 'eject':
      return (await import('./eject.ts')).eject(deps, change, signal);
    case 'export':
      return (await import('./archive.ts')).exportMachine(deps, change, signal);
    case 'import':
      return (await import('./archive.ts')).importMachine(deps, change, signal);
    case 'passwd':
      return (await import('./passwd.ts')).passwd(deps, change, signal);
    case 'adopt':
      return (await import('./takeover.ts')).adopt(deps, change, signal);
  }
}
