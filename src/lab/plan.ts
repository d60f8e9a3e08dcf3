import { join } from 'node:path';
import type { Plan } from '../host/apply.ts';
import type { HostStep } from '../host/step.ts';
import { bootScript, dataDirectories } from './boot.ts';
import type { Hierarchy, MakeCgroups } from './cgroup.ts';
import type { CloseEgress, OpenEgress } from './egress.ts';
import { gateway, type MakeNetwork, prefixLength, type RemoveNetwork } from './network.ts';
import { type LabRecord, placesOf } from './record.ts';
import type { BuildTree, Recipe } from './tree.ts';

export type LabStep =
  | HostStep
  | BuildTree
  | MakeNetwork
  | RemoveNetwork
  | MakeCgroups
  | OpenEgress
  | CloseEgress
  | {
      readonly do: 'start-lab';
      readonly name: string;
      readonly record: LabRecord;
      readonly hierarchies: readonly Hierarchy[];
    }
  | { readonly do: 'end-lab'; readonly name: string; readonly hierarchies: readonly Hierarchy[] };

/** The tree of a recipe, if it is not there. It stays for the labs to come, so an interrupted build is not undone. */
export function treePlan(path: string, recipe: Recipe): Plan<LabStep> {
  return {
    title: `lab tree ${recipe.suite}`,
    ifInterrupted: 'undo',
    steps: [{ do: 'build-tree', path, recipe }],
  };
}

/** What the machine at hand gives a plan. */
export interface Surroundings {
  readonly hierarchies: readonly Hierarchy[];
  /** The host's resolver settings, for labs with a way out. */
  readonly resolvConf: string;
}

const networkFile = (address: string) => `[Match]
Name=host0

[Network]
Address=${address}/${prefixLength}
Gateway=${gateway}
LinkLocalAddressing=no
IPv6AcceptRA=no
`;

const hostsFile = (record: LabRecord) => `127.0.0.1 localhost
::1 localhost ip6-localhost ip6-loopback
${record.address} ${record.spec.name}
${gateway} lab-gateway
`;

/** All that makes a lab from its tree. Directories of the upper layer stand for those of the tree: same owner and mode. */
export function upPlan(record: LabRecord, around: Surroundings): Plan<LabStep> {
  const { spec } = record;
  const places = placesOf(spec.name);
  const file = (path: string, content: string): LabStep => ({
    do: 'write-file',
    path: join(places.upper, path),
    content,
    mode: 0o644,
  });
  const directory = (path: string, mode: number): LabStep => ({ do: 'make-directory', path, mode });
  const resolvConf = spec.egress === 'nat' ? around.resolvConf : `nameserver ${gateway}\n`;
  const steps: LabStep[] = [
    { do: 'make-directory', path: places.directory, mode: 0o700, owns: 'everything' },
    {
      do: 'write-file',
      path: places.record,
      content: `${JSON.stringify(record, null, 2)}\n`,
      mode: 0o600,
    },
    { do: 'make-network', network: spec.network, lab: spec.name },
    ...[places.upper, places.root, places.share].map(path => directory(path, 0o755)),
    directory(places.work, 0o700),
    directory(places.data, 0o755),
    ...Object.entries(dataDirectories).map(([name, mode]) => directory(join(places.data, name), mode)),
    directory(join(places.upper, 'etc/systemd/network'), 0o755),
    file('etc/machine-id', `${record.machineId}\n`),
    file('etc/hostname', `${spec.name}\n`),
    file('etc/hosts', hostsFile(record)),
    file('etc/resolv.conf', resolvConf),
    file('etc/systemd/network/10-host0.network', networkFile(record.address)),
    { do: 'write-file', path: places.script, content: bootScript(record, around.hierarchies), mode: 0o755 },
  ];
  if (spec.egress === 'nat')
    steps.push({ do: 'open-egress', network: spec.network, lab: spec.name, address: record.address });
  if (record.supervisor === 'none')
    steps.push({
      do: 'make-cgroups',
      name: spec.name,
      hierarchies: around.hierarchies,
      memory: spec.memory,
      cpuPercent: spec.cpuPercent,
    });
  steps.push({ do: 'start-lab', name: spec.name, record, hierarchies: around.hierarchies });
  return { title: `lab up ${spec.name}`, ifInterrupted: 'undo', steps };
}

/** Takes everything of a lab away, and networks that nobody needs any more. */
export function downPlan(
  name: string,
  record: LabRecord | undefined,
  hierarchies: readonly Hierarchy[],
  networks: readonly string[],
): Plan<LabStep> {
  const egress: LabStep[] =
    record?.spec.egress === 'nat'
      ? [{ do: 'close-egress', network: record.spec.network, lab: name, address: record.address }]
      : [];
  return {
    title: `lab down ${name}`,
    ifInterrupted: 'finish',
    steps: [
      { do: 'end-lab', name, hierarchies },
      ...egress,
      { do: 'remove', path: placesOf(name).directory },
      ...networks.map(network => ({ do: 'remove-network', network }) as const),
    ],
  };
}
