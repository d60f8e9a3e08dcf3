import { check } from '../host/child.ts';
import type { Host } from '../host/host.ts';
import type { Executor } from '../host/step.ts';
import { leavePath } from './container-bridge.ts';
import { machineBridge, namesDirectory, portsDirectory } from './nat-bridge.ts';

/** Takes back the names and ports of a container whose unit is down: one that was killed has not done it itself. */
export interface LeaveBridge {
  readonly do: 'leave-bridge';
  readonly name: string;
}

export function leaveExecutors({ files, children }: Pick<Host, 'files' | 'children'>): {
  'leave-bridge': Executor<LeaveBridge>;
} {
  return {
    'leave-bridge': {
      describe: ({ name }) => `take back names and ports of ${name}`,
      satisfied: async ({ name }) => {
        const paths = [
          `${namesDirectory(machineBridge)}/${name}`,
          `${portsDirectory(machineBridge)}/${name}.nft`,
        ];
        const there = await Promise.all(paths.map(path => files.look(path)));
        return there.every(entry => entry === undefined);
      },
      apply: async ({ name }, signal) => {
        await check(children, ['/bin/sh', leavePath, name], { signal });
      },
    },
  };
}
