import { SpawnletError } from '../host/error.ts';
import type { Changed, MachineChange, MachineRow, MachineStatus, SnapshotRow } from './api.ts';
import { type MachineDependencies, type Parts } from './change.ts';
import { listMachines } from './list.ts';
import { findMade, getMade } from './observe.ts';
import type { MachineSpec } from './spec.ts';

/** Machines: OS containers of systemd-nspawn, whose files are systemd's own. */
export class Machines {
  readonly #deps: MachineDependencies;

  constructor(deps: MachineDependencies) {
    this.#deps = deps;
  }

  /** Throws `ERR_NO_MACHINE`, `ERR_NAME_TAKEN`, `ERR_RUNNING`, `ERR_NOT_RUNNING`. */
  async perform(change: MachineChange, signal: AbortSignal): Promise<Changed> {
    await using _locks = await this.#lock(change);
    const { applier } = this.#deps;
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

  /** The plan of a change, as text with files as diffs and secrets redacted. */
  async dryRun(change: MachineChange, signal: AbortSignal): Promise<string> {
    const { applier } = this.#deps;
    const texts: string[] = [];
    try {
      for await (const part of await partsOf(this.#deps, change, signal)) {
        if (part.do === 'note') texts.push(`note: ${part.text}\n`);
        else {
          const { steps, ...rest } =
            part.do === 'plan'
              ? part.plan
              : ({ title: change.do, ifInterrupted: 'undo', steps: [part.shown] } as const);
          const text = await applier.dryRun({ ...rest, steps });
          if (text !== nothing) texts.push(text);
        }
      }
    } catch (error) {
      // What the next part needs is made by the one before, such as a base that is not built yet.
      if (texts.length === 0 || !(error instanceof SpawnletError)) throw error;
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

  async snapshots(name: string): Promise<SnapshotRow[]> {
    return (await import('./snapshot.ts')).listSnapshots(this.#deps.host.files, name);
  }

  /** What was asked for. Throws `ERR_NO_MACHINE`. */
  async spec(name: string): Promise<MachineSpec> {
    return (await getMade(this.#deps.host.files, name)).spec;
  }

  /** Undefined if there is none. */
  async findSpec(name: string): Promise<MachineSpec | undefined> {
    return (await findMade(this.#deps.host.files, name))?.spec;
  }

  /** The machines that a change is about; whoever else changes one is refused with `ERR_BUSY`. */
  async #lock(change: MachineChange): Promise<AsyncDisposable> {
    const locks = new AsyncDisposableStack();
    // To start and to stop is systemd's, which does one of them at a time.
    if (['start', 'stop', 'restart', 'kill'].includes(change.do)) return locks;
    const names = 'spec' in change ? [change.spec.name] : 'name' in change ? [change.name] : [];
    const all = [...names, ...('to' in change ? [change.to] : [])];
    try {
      for (const name of [...new Set(all)].sort())
        if (name !== undefined) locks.use(await this.#deps.host.locks.take(`machine-${name}`));
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
    case 'import':
    case 'passwd':
    case 'adopt':
      throw new Error(`not there yet: ${change.do}`);
  }
}
