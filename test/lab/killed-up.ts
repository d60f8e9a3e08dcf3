/** A child of a test: makes a lab, and is killed at one border of the plan: `NAME JOURNALS KIND before|after`. */
import { makeApplier } from '../../src/host/apply.ts';
import { realHost } from '../../src/host/host.ts';
import { up } from '../../src/lab/lab.ts';
import type { LabStep } from '../../src/lab/plan.ts';
import { parseLabSpec } from '../../src/lab/spec.ts';
import { allLabExecutors } from '../../src/lab/step.ts';
import { lockDirectory } from '../../src/names.ts';

const [name = '', journals = '', kind, side] = process.argv.slice(2);
const host = realHost(lockDirectory, 'killed up');
const executors = allLabExecutors(host);
const die = (when: string) => {
  if (when === side) process.kill(process.pid, 'SIGKILL');
};
const watched = Object.fromEntries(
  Object.entries(executors).map(([key, executor]) => {
    if (key !== kind) return [key, executor];
    const apply = async (step: LabStep, signal: AbortSignal) => {
      die('before');
      await (executor.apply as (step: LabStep, signal: AbortSignal) => Promise<void>)(step, signal);
      die('after');
    };
    return [key, { ...executor, apply }];
  }),
) as typeof executors;
const applier = makeApplier(watched, host.files, host.locks, journals);
const spec = parseLabSpec({ name, network: name });
await up(host, applier, spec, null, AbortSignal.timeout(60_000));
