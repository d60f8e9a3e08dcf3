import { SpawnletError } from '../../../host/error.ts';
import type { PodFacts } from '../../spec/variables/downward.ts';
import { type Member, members } from '../../status/roles.ts';
import type { PodIdentity, QosClass } from '../../unit/names.ts';
import type { WorkerDependencies } from '../dependencies.ts';
import type { PodRecord } from '../record.ts';
import type { Tasks } from '../tasks.ts';
import type { Runs } from './runs.ts';

/** One pod, and what all that is done for it shares. */
export interface Work {
  readonly deps: WorkerDependencies;
  readonly identity: PodIdentity;
  readonly qos: QosClass;
  readonly record: PodRecord;
  readonly tasks: Tasks;
  readonly runs: Runs;
}

export function memberOf({ record }: Pick<Work, 'record'>, name: string): Member {
  const member = members(record.pod).find(({ spec }) => spec.name === name);
  if (!member) throw new Error(`pod ${record.identity.name} has no container ${name}`);
  return member;
}

/** What containers may be told of where they run. */
export function factsOf({ deps: { node }, record: { pod, observed } }: Work): PodFacts {
  const { sandbox } = observed;
  return {
    nodeName: node.name,
    hostIPs: node.addresses,
    podIPs: pod.spec?.hostNetwork ? node.addresses : sandbox.kind === 'ready' ? sandbox.ips : [],
    allocatable: { cpu: `${node.cpu}m`, memory: String(node.memory) },
  };
}

/** Where probes and hooks find the pod. */
export function addressOf(work: Work): string {
  const { podIPs, hostIPs } = factsOf(work);
  return podIPs[0] ?? hostIPs[0] ?? '127.0.0.1';
}

export const messageText = (error: unknown): string =>
  error instanceof SpawnletError || error instanceof Error ? error.message : String(error);
