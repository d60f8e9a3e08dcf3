import type { Backoff, Stopping } from '../status/observed.ts';
import type { Role } from '../status/roles.ts';

/**
 * What is to be done for a pod now. Each is recorded before it is carried out, so that the next look, by this process
 * or another, finds it in what is observed and does not decide it again.
 */
export type Decision =
  | CreateSandbox
  /** All containers begin anew: `container` has ended in a way that a restart rule of it speaks of. */
  | { readonly kind: 'restartAll'; readonly attempt: number; readonly container: string }
  | Start
  | Stop
  /** The pod has failed for good; what of it runs will be stopped. */
  | { readonly kind: 'fail'; readonly reason: string; readonly message: string }
  /** Nothing of the pod runs or will: its network, volumes and slices can go. */
  | { readonly kind: 'finish' };

/** The pod gets a network. Its containers run in this attempt. */
export interface CreateSandbox {
  readonly kind: 'createSandbox';
  readonly attempt: number;
}

/** Image, bundle, unit and postStart hook. What is to be recorded of the run stands beside it. */
export interface Start {
  readonly kind: 'start';
  readonly container: string;
  readonly role: Role;
  readonly attempt: number;
  readonly restartCount: number;
  /** After a run has ended: what the next has to wait, should this one end too. */
  readonly backOff?: Backoff;
}

/** `preStop`: the hook runs, until the deadline at most; `stop`: TERM now, KILL at the deadline. */
export interface Stop extends Pick<Stopping, 'cause' | 'message' | 'deadline'> {
  readonly kind: 'preStop' | 'stop';
  readonly container: string;
}

/** What to do, and when to look again even if nothing happens. */
export interface Next {
  readonly decisions: readonly Decision[];
  /** Milliseconds since 1970. */
  readonly lookAt?: number;
}

/** The earliest of some times; undefined ones do not count. */
export function earliest(...times: readonly (number | undefined)[]): number | undefined {
  const known = times.filter(time => time !== undefined);
  return known.length > 0 ? Math.min(...known) : undefined;
}

/** All decisions of several looks, and the first of their times. */
export function together(...parts: readonly Next[]): Next {
  const lookAt = earliest(...parts.map(part => part.lookAt));
  return {
    decisions: parts.flatMap(part => part.decisions),
    ...(lookAt !== undefined && { lookAt }),
  };
}

export const nothing: Next = { decisions: [] };
