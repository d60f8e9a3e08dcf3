import { type Children, systemChildren } from './child.ts';
import { type Clock, systemClock } from './clock.ts';
import { type Files, systemFiles } from './files.ts';
import { fileLocks, type Locks } from './lock.ts';

/** What every room is given of the machine it runs on; a test gives another. */
export interface Host {
  readonly files: Files;
  readonly children: Children;
  readonly clock: Clock;
  readonly locks: Locks;
}

/** The real machine. `command` is what a lock says of its holder. */
export function realHost(lockDirectory: string, command: string): Host {
  return {
    files: systemFiles,
    children: systemChildren,
    clock: systemClock,
    locks: fileLocks(lockDirectory, command, systemClock),
  };
}
