import { SpawnletError } from '../host/error.ts';
import { BusError } from './connection.ts';
import type { Outgoing, Value } from './wire.ts';

/** Calls of `org.freedesktop.systemd1(5)`, and what comes back. */

export const service = 'org.freedesktop.systemd1';
export const managerPath = '/org/freedesktop/systemd1';

export const bus = {
  destination: 'org.freedesktop.DBus',
  path: '/org/freedesktop/DBus',
  interface: 'org.freedesktop.DBus',
} as const;

/** A property of a transient unit, by its D-Bus name and signature: `['Description', 's', 'a web server']`. */
export type TransientProperty = readonly [name: string, signature: string, value: Value];

/** A link in `/etc` or `/run` that enabling or disabling made or removed. */
export interface UnitFileChange {
  readonly change: string;
  readonly path: string;
  readonly target: string;
}

/** One row of what `ListUnits` gives. */
export interface UnitRow {
  readonly name: string;
  readonly description: string;
  readonly loadState: string;
  readonly activeState: string;
  readonly subState: string;
}

/** A call of the manager object. */
export function managerCall(member: string, signature = '', body: readonly Value[] = []): Outgoing {
  return {
    destination: service,
    path: managerPath,
    interface: `${service}.Manager`,
    member,
    signature,
    body,
  };
}

/** Reads the properties of one interface of an object, or of all: `''`. */
export function getAll(path: string, ofInterface: string): Outgoing {
  return {
    destination: service,
    path,
    interface: 'org.freedesktop.DBus.Properties',
    member: 'GetAll',
    signature: 's',
    body: [ofInterface],
  };
}

/** The `a(sv)` of properties. */
export const variants = (properties: readonly TransientProperty[]): Value[] =>
  properties.map(([name, signature, value]) => [name, { signature, value }]);

/** The number of a job, from its object's path. */
export function idOf(path: Value | undefined): number {
  const job = path as string;
  return Number(job.slice(job.lastIndexOf('/') + 1));
}

export function changesOf(rows: Value | undefined): UnitFileChange[] {
  return (rows as string[][]).map(([change = '', path = '', target = '']) => ({ change, path, target }));
}

export function rowsOf(rows: Value | undefined): UnitRow[] {
  return (rows as string[][]).map(
    ([name = '', description = '', loadState = '', activeState = '', subState = '']) => ({
      name,
      description,
      loadState,
      activeState,
      subState,
    }),
  );
}

/** For calls about what may be gone already. */
export function ignoreGone(error: unknown): void {
  if (!(error instanceof BusError)) throw error;
}

/** systemd's error names that a user can do something about. */
const refusals: Record<string, readonly [`ERR_${string}`, (name: string) => string]> = {
  NoSuchUnit: ['ERR_NO_SUCH_UNIT', () => 'systemctl list-unit-files'],
  UnitExists: ['ERR_UNIT_EXISTS', name => `systemctl status ${name}`],
  UnitMasked: ['ERR_UNIT_MASKED', name => `systemctl unmask ${name}`],
  LoadFailed: ['ERR_UNIT_INVALID', name => `systemd-analyze verify ${name}`],
  BadUnitSetting: ['ERR_UNIT_INVALID', name => `systemd-analyze verify ${name}`],
};

/** The error that people read for an error reply; any other error as it is. */
export function refusal(error: unknown, subject: string): unknown {
  if (!(error instanceof BusError)) return error;
  const known = refusals[error.errorName.slice(error.errorName.lastIndexOf('.') + 1)];
  const [code, hint] = known ?? ['ERR_SYSTEMD_REFUSED', (name: string) => `systemctl status ${name}`];
  return new SpawnletError(code, error.message, { hint: hint(subject), cause: error });
}
