import { join } from 'node:path';
import { SpawnletError } from '../host/error.ts';
import type { Files } from '../host/files.ts';
import type { Holder } from '../host/process.ts';
import { labDirectory } from '../names.ts';
import type { LabSpec } from './spec.ts';

/** What a lab is: written before anything else of it, and the last to go. */
export interface LabRecord {
  readonly version: 1;
  readonly spec: LabSpec;
  readonly tree: string;
  readonly address: string;
  readonly machineId: string;
  /** Who keeps it alive: by a systemd that is PID 1, in a unit; else by itself, in cgroups that were made for it. */
  readonly supervisor: 'systemd' | 'none';
  /** The process for which the lab was made, if it shall not outlive it: a sweep takes it down after that. */
  readonly owner: Holder | null;
}

export const labsDirectory = join(labDirectory, 'labs');

/** Places of one lab. */
export function placesOf(name: string) {
  const directory = join(labsDirectory, name);
  return {
    directory,
    record: join(directory, 'lab.json'),
    /** What the lab changed of its tree. */
    upper: join(directory, 'upper'),
    work: join(directory, 'work'),
    root: join(directory, 'root'),
    /** What is bound in at {@link shareTarget}. */
    share: join(directory, 'share'),
    ready: join(directory, 'share', 'ready'),
    /** Directories of the real file system for the lab's /var/lib. */
    data: join(directory, 'data'),
    script: join(directory, 'boot.sh'),
    log: join(directory, 'boot.log'),
    /** The process that boots it and stays, as {@link Holder}. */
    process: join(directory, 'process.json'),
    unit: `spawnlet-lab-${name}.service`,
  };
}

/** Undefined if there is no lab of this name, or its making was cut off before it had a record. */
export async function readRecord(files: Files, name: string): Promise<LabRecord | undefined> {
  const text = await files.read(placesOf(name).record);
  return text === undefined ? undefined : (JSON.parse(text) as LabRecord);
}

export async function readRecords(files: Files): Promise<LabRecord[]> {
  const records: LabRecord[] = [];
  for (const name of await files.list(labsDirectory)) {
    const record = await readRecord(files, name);
    if (record) records.push(record);
  }
  return records;
}

export const labNotFound = (name: string, hint = `spawnlet lab up ${name}`): SpawnletError =>
  new SpawnletError('ERR_LAB_NOT_FOUND', `there is no lab ${name}`, { hint });
