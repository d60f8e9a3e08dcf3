import { check } from '../host/child.ts';
import type { Host } from '../host/host.ts';
import type { Executor } from '../host/step.ts';
import type { SetUpBridge, TakeDownBridge } from './bridge.ts';

const waitOnline = [
  '/usr/lib/systemd/systemd-networkd-wait-online',
  '/lib/systemd/systemd-networkd-wait-online',
];

/** Executors of bridges of the host: whoever keeps its network is told of their files. */
export function bridgeExecutors({ files, children }: Pick<Host, 'files' | 'children'>): {
  'set-up-bridge': Executor<SetUpBridge>;
  'take-down-bridge': Executor<TakeDownBridge>;
} {
  const succeeds = async (argv: readonly string[]) => (await children.capture(argv)).code === 0;
  const isThere = ({ name }: { readonly name: string }) =>
    succeeds(['ip', 'link', 'show', 'dev', name, 'type', 'bridge', 'up']);

  async function waitFor(name: string, signal: AbortSignal): Promise<void> {
    for (const program of waitOnline) {
      if (!(await files.look(program))) continue;
      await check(children, [program, `--interface=${name}:no-carrier`, '--timeout=30'], { signal });
      return;
    }
  }

  async function takeDown({ name, manager }: SetUpBridge | TakeDownBridge): Promise<void> {
    if (manager === 'ifupdown') await children.capture(['ifdown', '--force', name]);
    else await check(children, ['networkctl', 'reload']);
    // networkctl leaves links; ifdown has none to take if the bridge was made by another hand.
    await children.capture(['ip', 'link', 'delete', name]);
  }

  return {
    'set-up-bridge': {
      describe: step =>
        `set up bridge ${step.name} (${step.manager === 'networkd' ? 'networkctl reload' : 'ifup'})`,
      satisfied: isThere,
      prior: async step => ((await isThere(step)) ? 'there' : 'none'),
      apply: async (step, signal) => {
        if (step.manager === 'ifupdown') await check(children, ['ifup', '--force', step.name], { signal });
        else {
          await check(children, ['networkctl', 'reload'], { signal });
          await waitFor(step.name, signal);
        }
      },
      undo: async (step, prior) => {
        if (prior === 'none') await takeDown(step);
      },
    },
    'take-down-bridge': {
      describe: step => `take down bridge ${step.name}`,
      satisfied: async step => !(await succeeds(['ip', 'link', 'show', 'dev', step.name])),
      apply: step => takeDown(step),
    },
  };
}
