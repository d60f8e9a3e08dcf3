import { join } from 'node:path';
import { SpawnletError } from '../../host/error.ts';
import type { Files } from '../../host/files.ts';
import type { Lock, Locks } from '../../host/lock.ts';
import { basesDirectory, machinesDirectory, persistentUnits } from '../../names.ts';
import { unescapeName } from '../../systemd/escape.ts';
import { parseUnit, valuesOf } from '../../systemd/unit-file.ts';
import type { Recipe } from './recipe.ts';
import { building, parseBaseName, withdrawn } from './source.ts';

/** A tree that machines are cloned from. Nothing writes to it once it is there. */
export interface Base {
  readonly name: string;
  readonly recipe: Recipe;
  /** Milliseconds since 1970. */
  readonly created: number;
  /** Bytes on the disk. */
  readonly size: number;
  /** Its root directory. */
  readonly tree: string;
}

/** What `recipe.json` holds. */
export interface BaseRecord {
  readonly version: 1;
  readonly recipe: Recipe;
  readonly created: number;
  readonly size: number;
}

/** Where the parts of a base lie. */
export interface Places {
  readonly directory: string;
  readonly tree: string;
  readonly record: string;
  /** Where it is made, and what it becomes when it is removed. */
  readonly building: string;
  readonly newTree: string;
  /** What the unit that builds is asked for. */
  readonly request: string;
  readonly withdrawn: string;
}

export function placesOf(name: string): Places {
  const directory = join(basesDirectory, name);
  return {
    directory,
    tree: join(directory, 'tree'),
    record: join(directory, 'recipe.json'),
    building: `${directory}${building}`,
    newTree: join(`${directory}${building}`, 'tree'),
    request: join(`${directory}${building}`, 'request.json'),
    withdrawn: `${directory}${withdrawn}`,
  };
}

/** The root directory of a base: what an overlay has as its lower directory. */
export const baseTree = (name: string): string => placesOf(name).tree;

/** The name of its lock, which is taken by whoever makes, removes or clones a base, until a clone can be seen by {@link Bases.usedBy}. */
export const lockOf = (name: string): string => `base-${name}`;

/** Takes that lock as soon as it is free. */
export function lockBase(locks: Locks, name: string, signal: AbortSignal): Promise<Lock> {
  return locks.wait(lockOf(name), signal);
}

export const noBase = (name: string): SpawnletError =>
  new SpawnletError('ERR_BASE_NOT_FOUND', `there is no base ${JSON.stringify(name)}`, {
    hint: `spawnlet base ls shows what there is; spawnlet base prepare ${name} --from debian:bookworm makes one`,
  });

/** The bases of this machine, read from the disk. */
export class Bases {
  readonly #files: Files;

  constructor(files: Files) {
    this.#files = files;
  }

  /** All that are whole, by name. */
  async list(): Promise<Base[]> {
    const names = await this.#files.list(basesDirectory);
    const found = await Promise.all(names.filter(isName).map(name => this.find(name)));
    return found.filter(base => base !== undefined);
  }

  /** Undefined if there is none, or none that is whole. */
  async find(name: string): Promise<Base | undefined> {
    const { tree, record } = placesOf(parseBaseName(name));
    const text = await this.#files.read(record);
    if (text === undefined) return undefined;
    const { recipe, created, size } = JSON.parse(text) as BaseRecord;
    return { name, recipe, created, size, tree };
  }

  /** {@link find}, or `ERR_BASE_NOT_FOUND`. */
  async get(name: string): Promise<Base> {
    const base = await this.find(name);
    if (base) return base;
    throw noBase(name);
  }

  /** Machines whose trees lie on the base, sorted. */
  async usedBy(name: string): Promise<string[]> {
    return (await this.#users()).get(name) ?? [];
  }

  /** The same for all bases that are used. */
  async uses(): Promise<ReadonlyMap<string, readonly string[]>> {
    return this.#users();
  }

  /** Names of bases of which something is left by a build or a removal that was cut off. */
  async remains(): Promise<string[]> {
    const names = await this.#files.list(basesDirectory);
    const cut = names.flatMap(name =>
      [building, withdrawn]
        .filter(suffix => name.endsWith(suffix))
        .map(suffix => name.slice(0, -suffix.length)),
    );
    return [...new Set(cut)].filter(isName);
  }

  /** By the mount units of clones; a machine whose tree is a copy does without its base. */
  async #users(): Promise<Map<string, string[]>> {
    const users = new Map<string, Set<string>>();
    const add = (base: string, machine: string) => {
      users.set(base, (users.get(base) ?? new Set()).add(machine));
    };
    const prefix = `${machinesDirectory.slice(1).replaceAll('/', '-')}-`;
    for (const unit of await this.#files.list(persistentUnits)) {
      if (!unit.startsWith(prefix) || !unit.endsWith('.mount')) continue;
      const text = (await this.#files.read(join(persistentUnits, unit))) ?? '';
      const machine = unescapeName(unit.slice(prefix.length, -'.mount'.length));
      for (const base of lowerBases(text)) add(base, machine);
    }
    return new Map([...users].map(([base, machines]) => [base, [...machines].sort()]));
  }
}

function isName(name: string): boolean {
  try {
    return parseBaseName(name) === name;
  } catch {
    return false;
  }
}

/** Bases among the lower directories of an overlay's mount unit. */
export function lowerBases(text: string): string[] {
  const unit = parseUnit(text);
  const options = valuesOf(unit, 'Mount', 'Options').join(',');
  const lower = options
    .split(',')
    .flatMap(option => /^lowerdir=(.*)$/.exec(option.trim())?.[1]?.split(':') ?? []);
  return lower.flatMap(path => {
    const match = path.startsWith(`${basesDirectory}/`)
      ? /^([^/]+)\/tree\/?$/.exec(path.slice(basesDirectory.length + 1))
      : null;
    return match?.[1] ?? [];
  });
}
