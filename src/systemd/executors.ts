import { constants } from 'node:os';
import { SpawnletError } from '../host/error.ts';
import type { Executors, Json } from '../host/step.ts';
import type { SystemdClient } from './client.ts';
import type { UnitLevelProperty, UnitProperties } from './properties.ts';

/** The steps that change what systemd runs. Unit files are written by the host's `write-file`. */
export type SystemdStep =
  /** Starts a unit and waits for the job; undone by stopping it, if it was down before, as one that is `fresh` was. */
  | { readonly do: 'start-unit'; readonly name: string; readonly fresh?: true }
  /** Stops a unit and waits until it is down; undone by starting it, if it was up before. */
  | { readonly do: 'stop-unit'; readonly name: string }
  /** Kills every process of a unit and waits until it is down; they cannot come back. */
  | { readonly do: 'kill-unit'; readonly name: string }
  /** Makes the links of `[Install]`; undone by removing them, if there were none before. */
  | { readonly do: 'enable-unit'; readonly name: string }
  | { readonly do: 'disable-unit'; readonly name: string }
  /** Forgets a failure; it cannot come back. */
  | { readonly do: 'reset-failed-unit'; readonly name: string }
  /** Reads unit files again, where that of `name` changed or went since it was loaded. New files need none. */
  | { readonly do: 'reload-manager'; readonly name: string };

const up = ['active', 'reloading', 'refreshing', 'activating'];
const down = ['inactive', 'failed'];
/** Of `systemctl is-enabled`; other states (static, generated, not there) are neither. */
const enabled = ['enabled', 'enabled-runtime'];

type Named = { readonly name: string };

/** Executors of {@link SystemdStep}. `connect` is called when the first step needs systemd, and may give the same client;
 * `queued` when systemd has begun to start a unit. */
export function systemdExecutors(
  connect: () => Promise<SystemdClient>,
  queued: () => void = () => undefined,
): Executors<SystemdStep> {
  const undoing = () => AbortSignal.timeout(120_000);

  async function read<P extends UnitLevelProperty>(step: Named, property: P): Promise<UnitProperties[P]> {
    const client = await connect();
    return client.unitProperty(step.name, property, AbortSignal.timeout(30_000));
  }

  /** In one of these states, and nothing queued that would change it. */
  async function settled(step: Named, states: readonly string[]): Promise<boolean> {
    // What is not loaded is down; to read its properties would have systemd search the disk for it.
    if (!(await isLoaded(step))) return states.includes('inactive');
    const [state, job] = await Promise.all([read(step, 'ActiveState'), read(step, 'Job')]);
    return states.includes(state) && job === 0;
  }

  const isLoaded = async ({ name }: Named) => (await connect()).isLoaded(name, AbortSignal.timeout(30_000));

  const wasUp = async (step: Named): Promise<Json> => ({
    up: (await isLoaded(step)) && up.includes(await read(step, 'ActiveState')),
  });
  const wasEnabled = async (step: Named): Promise<Json> => ({
    enabled: enabled.includes(await read(step, 'UnitFileState')),
  });

  async function start(step: Named, signal: AbortSignal): Promise<void> {
    const client = await connect();
    await client.startUnit(step.name, 'replace', signal, queued);
  }

  async function stop(step: Named, signal: AbortSignal): Promise<void> {
    const client = await connect();
    await client.stopUnit(step.name, 'replace', signal);
  }

  /** The stop is queued first, so that Restart= does not start the unit again. */
  async function kill(step: Named, signal: AbortSignal): Promise<void> {
    const client = await connect();
    const job = await client.enqueue('stop', step.name, 'replace', signal);
    // Nothing of it may be left to kill.
    await client
      .killUnit(step.name, 'all', constants.signals.SIGKILL, signal)
      .catch(() => signal.throwIfAborted());
    await job.done;
  }

  /** The one process that a mount may have is what unmounts it. One that is being mounted is so, or has failed, when that job ends. */
  async function unmount(step: Named, signal: AbortSignal): Promise<void> {
    try {
      await stop(step, signal);
    } catch (error) {
      if (!(error instanceof SpawnletError && error.code === 'ERR_UNIT_FAILED')) throw error;
      if (!(await settled(step, down))) await stop(step, signal);
    }
  }

  /** Ends a unit whose start is taken back: at once, since it has done nothing yet that is to be ended in order. */
  async function takeBack(step: Named, signal: AbortSignal): Promise<void> {
    if (!(await settled(step, down))) await (step.name.endsWith('.mount') ? unmount : kill)(step, signal);
    await (await connect()).resetFailedUnit(step.name, signal);
  }

  async function enable(step: Named, signal: AbortSignal): Promise<void> {
    const client = await connect();
    await client.enableUnitFiles([step.name], 'persistent', signal);
  }

  async function disable(step: Named, signal: AbortSignal): Promise<void> {
    const client = await connect();
    await client.disableUnitFiles([step.name], 'persistent', signal);
  }

  return {
    'start-unit': {
      describe: step => `start ${step.name}`,
      satisfied: async step => !step.fresh && (await settled(step, ['active'])),
      prior: async step => (step.fresh ? { up: false } : wasUp(step)),
      apply: start,
      undo: async (step, prior) => {
        if (!was(prior, 'up')) await takeBack(step, undoing());
      },
    },
    'stop-unit': {
      describe: step => `stop ${step.name}`,
      satisfied: step => settled(step, down),
      prior: wasUp,
      apply: stop,
      undo: async (step, prior) => {
        if (was(prior, 'up')) await start(step, undoing());
      },
    },
    'kill-unit': {
      describe: step => `kill ${step.name}`,
      satisfied: step => settled(step, down),
      apply: kill,
    },
    'enable-unit': {
      describe: step => `enable ${step.name}`,
      satisfied: async step => enabled.includes(await read(step, 'UnitFileState')),
      prior: wasEnabled,
      apply: enable,
      undo: async (step, prior) => {
        if (!was(prior, 'enabled')) await disable(step, undoing());
      },
    },
    'disable-unit': {
      describe: step => `disable ${step.name}`,
      satisfied: async step => !enabled.includes(await read(step, 'UnitFileState')),
      prior: wasEnabled,
      apply: disable,
      undo: async (step, prior) => {
        if (was(prior, 'enabled')) await enable(step, undoing());
      },
    },
    'reset-failed-unit': {
      describe: step => `forget that ${step.name} failed`,
      satisfied: async step => (await read(step, 'ActiveState')) !== 'failed',
      apply: async (step, signal) => {
        const client = await connect();
        await client.resetFailedUnit(step.name, signal);
      },
    },
    'reload-manager': {
      describe: step => `read the changed file of ${step.name}`,
      // Since version 253 systemd says of every unit that it has to be read again once any was enabled.
      satisfied: async step =>
        !(await isLoaded(step)) ||
        (await read(step, 'LoadState')) === 'not-found' ||
        !(await read(step, 'NeedDaemonReload')),
      apply: async (_step, signal) => {
        const client = await connect();
        await client.reload(signal);
      },
    },
  };
}

/** What a journalled prior says; a prior that a kill cut short says nothing. */
function was(prior: Json, what: 'up' | 'enabled'): boolean {
  return typeof prior === 'object' && prior !== null && what in prior && Object(prior)[what] === true;
}
