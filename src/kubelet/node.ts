import { availableParallelism, hostname, networkInterfaces, totalmem } from 'node:os';
import type { Node } from '../pod/worker/dependencies.ts';

/** Addresses by which others reach this host, the first one IPv4 if there is any. */
function addresses(): string[] {
  const all = Object.entries(networkInterfaces())
    .filter(([name]) => !name.startsWith('spawnlet'))
    .flatMap(([, its = []]) => its)
    .filter(({ internal, scopeid }) => !internal && !scopeid);
  const of = (family: string) => all.filter(each => each.family === family).map(({ address }) => address);
  return [...of('IPv4').slice(0, 1), ...of('IPv6').slice(0, 1)];
}

/** This host as a node without a cluster. */
export function standaloneNode(): Node {
  return {
    name: hostname(),
    addresses: addresses(),
    memory: totalmem(),
    cpu: availableParallelism() * 1000,
    dns: { servers: [], domain: 'cluster.local' },
  };
}
