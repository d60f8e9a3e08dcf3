import type { Value } from './wire.ts';

export type PropertyMap = ReadonlyMap<Value, Value>;

const text = (value: Value | undefined): string => (typeof value === 'string' ? value : '');
const flag = (value: Value | undefined): boolean => value === true;
const list = (value: Value | undefined): readonly string[] =>
  Array.isArray(value) ? (value as Value[]).filter(item => typeof item === 'string') : [];

/** A count, a process or a time in microseconds since 1970: all stay below 2^53. */
const count = (value: Value | undefined): number =>
  typeof value === 'number' || typeof value === 'bigint' ? Number(value) : 0;

/** systemd writes "not known" and "no limit" as the largest integer. */
const measure = (value: Value | undefined): number | undefined =>
  value === undefined || value === 0xffff_ffff_ffff_ffffn ? undefined : count(value);

const hex = (value: Value | undefined): string =>
  value instanceof Uint8Array ? Buffer.from(value).toString('hex') : '';

const jobId = (value: Value | undefined): number => (Array.isArray(value) ? count(value[0] as Value) : 0);

/** The properties that spawnlet reads, each with how it comes off the bus. */
const readers = {
  Id: text,
  Description: text,
  /** `loaded`, `not-found`, `bad-setting`, `error`, `masked`. */
  LoadState: text,
  /** `active`, `reloading`, `inactive`, `failed`, `activating`, `deactivating`. */
  ActiveState: text,
  SubState: text,
  UnitFileState: text,
  FragmentPath: text,
  DropInPaths: list,
  NeedDaemonReload: flag,
  /** Of the current or last run: 32 hex digits, empty if there was none. */
  InvocationID: hex,
  /** Of the job that waits or runs for this unit; 0 if there is none. */
  Job: jobId,
  ActiveEnterTimestamp: count,
  InactiveEnterTimestamp: count,
  StateChangeTimestamp: count,
  /** `success`, `exit-code`, `signal`, `core-dump`, `timeout`, `oom-kill`, `protocol`, `start-limit-hit`, `resources` … */
  Result: text,
  /** Process of a running service; 0 if there is none. */
  MainPID: count,
  /** Process of the current or last run. */
  ExecMainPID: count,
  /** siginfo's si_code: 0 it has not ended, 1 it exited, 2 a signal killed it, 3 with a core dump. */
  ExecMainCode: count,
  /** The exit code, or the signal's number. */
  ExecMainStatus: count,
  /** Microseconds since 1970; 0 if not yet. */
  ExecMainStartTimestamp: count,
  ExecMainExitTimestamp: count,
  NRestarts: count,
  ControlGroup: text,
  LogNamespace: text,
  /** Bytes; undefined without a memory controller. */
  MemoryCurrent: measure,
  TasksCurrent: measure,
} as const;

/** Properties of a unit by systemd's names; those that its type does not have are empty. Fit for JSON. */
export type UnitProperties = {
  readonly [Name in keyof typeof readers]: ReturnType<(typeof readers)[Name]>;
};

/** All properties that spawnlet reads. */
export function unitProperties(map: PropertyMap): UnitProperties {
  const entries = Object.entries(readers).map(([name, read]) => [name, read(map.get(name))]);
  return Object.fromEntries(entries) as UnitProperties;
}

/** Those that `map` has. */
export function changedProperties(map: PropertyMap): Partial<UnitProperties> {
  const entries = Object.entries(readers)
    .filter(([name]) => map.has(name))
    .map(([name, read]) => [name, read(map.get(name))]);
  return Object.fromEntries(entries) as Partial<UnitProperties>;
}

/** Properties that every type of unit has: those of `org.freedesktop.systemd1.Unit`. */
export type UnitLevelProperty =
  | 'LoadState'
  | 'ActiveState'
  | 'SubState'
  | 'UnitFileState'
  | 'FragmentPath'
  | 'NeedDaemonReload'
  | 'InvocationID'
  | 'ActiveEnterTimestamp'
  | 'Job';

/** Properties of `org.freedesktop.systemd1.Service` that are asked for one by one: all of them take 30 times as long to read. */
export type ServiceLevelProperty = 'MainPID';

/** The interface that has a property. */
export const levelOf = (property: UnitLevelProperty | ServiceLevelProperty): 'Unit' | 'Service' =>
  property === 'MainPID' ? 'Service' : 'Unit';

export function readProperty<P extends UnitLevelProperty | ServiceLevelProperty>(
  name: P,
  value: Value | undefined,
): UnitProperties[P] {
  return readers[name](value) as UnitProperties[P];
}

const unitRoot = '/org/freedesktop/systemd1/unit/';

/** The D-Bus object of a unit: bytes that a path cannot hold are `_` and two hex digits. */
export function unitPath(name: string): string {
  if (name === '') return `${unitRoot}_`;
  let path = unitRoot;
  for (const [index, byte] of Buffer.from(name).entries()) {
    const letter = (byte >= 0x41 && byte <= 0x5a) || (byte >= 0x61 && byte <= 0x7a);
    const digit = byte >= 0x30 && byte <= 0x39;
    path +=
      letter || (digit && index > 0) ? String.fromCharCode(byte) : `_${byte.toString(16).padStart(2, '0')}`;
  }
  return path;
}

export const isUnitPath = (path: string): boolean => path.startsWith(unitRoot);
