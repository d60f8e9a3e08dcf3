import { initMembers, type Member } from '../status/roles.ts';
import { isInitialized, mainHasBegun, observedOf, ranNow } from '../status/runs.ts';
import { type Look } from './start.ts';

/** Where the init containers of an attempt are. */
export interface Sequence {
  /** To be kept running, or to be run now: sidecars that were up before, and the one whose turn it is. */
  readonly turn: readonly Member[];
  /** All are done, or up: main containers may run. */
  readonly done: boolean;
}

/**
 * The turns of init containers: one after another, each when the one before it has ended well or, for a sidecar, has
 * started. A sidecar that has been up once holds nobody back any more, and is kept running. Once a main container has
 * begun, only sidecars are looked after.
 */
export function sequenceOf({ pod, observed }: Look): Sequence {
  const inits = initMembers(pod);
  const sidecars = inits.filter(({ role }) => role === 'sidecar');
  if (mainHasBegun(pod, observed)) return { turn: sidecars, done: true };
  const furthest = inits.findLastIndex(member => ranNow(observed, observedOf(observed, member)));
  const reached = inits[furthest];
  const next = reached && !isInitialized(observed, reached) ? furthest : furthest + 1;
  const before = inits.slice(0, next).filter(({ role }) => role === 'sidecar');
  return { turn: [...before, ...inits.slice(next, next + 1)], done: next >= inits.length };
}
