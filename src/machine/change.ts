import type { Applier, Plan } from '../host/apply.ts';
import type { Host } from '../host/host.ts';
import type { SystemdClient } from '../systemd/client.ts';
import type { MachineStep } from './step.ts';

/** What machines are made with. */
export interface MachineDependencies {
  readonly host: Host;
  readonly applier: Pick<Applier<MachineStep>, 'apply' | 'dryRun'> & {
    pending(wanted: Plan<MachineStep>): Promise<readonly unknown[]>;
  };
  systemd(): Promise<SystemdClient>;
}

/** A part of a change. Parts come one after the other: what follows a plan may look at what that has done. */
export type Part =
  | { readonly do: 'plan'; readonly plan: Plan<MachineStep> }
  /** What systemd is asked for at once: it has the job, whatever becomes of who asked. */
  | {
      readonly do: 'job';
      readonly shown: readonly MachineStep[];
      /** Gives notes for people. */
      run(signal: AbortSignal): Promise<readonly string[]>;
    }
  | { readonly do: 'note'; readonly text: string };

export type Parts = AsyncGenerator<Part, void, undefined>;

export const plan = (value: Plan<MachineStep>): Part => ({ do: 'plan', plan: value });
export const note = (text: string): Part => ({ do: 'note', text });
