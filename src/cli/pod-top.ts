import type { Files } from '../host/files.ts';
import { type Sample, sampleOf, type Usage, usageOf } from '../pod/access/usage.ts';
import { members } from '../pod/status/roles.ts';
import { sliceOf, unitOf } from '../pod/unit/names.ts';
import { getPod, type KnownPod, knownPods } from '../pod/worker/known.ts';
import type { SystemdClient } from '../systemd/client.ts';
import { defineCommand, outputOption } from './command.ts';
import { type Column, print, table } from './output.ts';
import { namespaceOf, namespaceOption } from './pod.ts';

/** A pod that has processes, and what those of its containers that run use. */
interface PodUsage extends Usage {
  readonly known: KnownPod;
  readonly containers: readonly (Usage & { readonly name: string })[];
}

/** Milliseconds: CPU time is told of that long. */
const window = 1000;

/** The cgroup of a pod, as systemd has it; empty if it has none. */
async function groupOf(
  { identity, kept }: KnownPod,
  systemd: SystemdClient,
  signal: AbortSignal,
): Promise<string> {
  const { unitPath } = await import('../systemd/properties.ts');
  const slice = sliceOf(identity, kept.observed.qosClass);
  // To ask for a unit that systemd has not in memory would load it.
  if (!(await systemd.isLoaded(slice, signal))) return '';
  const all = await systemd.rawProperties(unitPath(slice), 'org.freedesktop.systemd1.Slice', signal);
  const group = all.get('ControlGroup');
  return typeof group === 'string' ? group : '';
}

/** Paths of the cgroups of a pod and of its containers. */
interface Groups {
  readonly known: KnownPod;
  readonly group: string;
  readonly containers: readonly (readonly [name: string, group: string])[];
}

async function sampleAll(files: Files, all: readonly Groups[]): Promise<ReadonlyMap<string, Sample>> {
  const paths = all.flatMap(({ group, containers }) => [group, ...containers.map(([, path]) => path)]);
  const samples = await Promise.all(paths.map(async path => [path, await sampleOf(files, path)] as const));
  return new Map(samples.flatMap(([path, sample]) => (sample ? [[path, sample] as const] : [])));
}

/** `250m`, as kubectl rounds it: up. */
const milli = ({ cpu }: Usage) => `${Math.ceil(cpu / 1e6)}m`;
const mebibytes = ({ memory }: Usage) => `${Math.floor(memory / 2 ** 20)}Mi`;

const podColumns: readonly Column<PodUsage>[] = [
  ['NAMESPACE', ({ known }) => known.identity.namespace],
  ['NAME', ({ known }) => known.identity.name],
  ['CPU(cores)', milli],
  ['MEMORY(bytes)', mebibytes],
];

type ContainerRow = PodUsage['containers'][number] & { readonly known: KnownPod };

const containerColumns: readonly Column<ContainerRow>[] = [
  ['NAMESPACE', ({ known }) => known.identity.namespace],
  ['POD', ({ known }) => known.identity.name],
  ['NAME', ({ name }) => name],
  ['CPU(cores)', milli],
  ['MEMORY(bytes)', mebibytes],
];

/** As the metrics API has it. */
const documentOf = ({ known, containers }: PodUsage, at: number) => ({
  apiVersion: 'metrics.k8s.io/v1beta1',
  kind: 'PodMetrics',
  metadata: { name: known.identity.name, namespace: known.identity.namespace },
  timestamp: new Date(at).toISOString(),
  window: `${window / 1000}s`,
  containers: containers.map(({ name, cpu, memory }) => ({
    name,
    usage: { cpu: `${cpu}n`, memory: `${Math.floor(memory / 1024)}Ki` },
  })),
});

export const top = defineCommand({
  name: 'pod top',
  group: 'Pods',
  summary: 'Show what pods use',
  synopsis: '[FLAG…] [POD]',
  arity: [0, 1],
  options: {
    ...namespaceOption,
    'all-namespaces': { type: 'boolean', short: 'A', help: 'of all namespaces, which is the default' },
    containers: { type: 'boolean', help: 'a line for each container' },
    'sort-by': {
      type: 'string',
      value: 'WHAT',
      choices: ['cpu', 'memory'],
      help: 'cpu or memory, the most first',
    },
    ...outputOption,
  },
  examples: [
    [
      'spawnlet pod top --sort-by memory',
      'CPU time of one second, and memory but for pages of files not used lately',
    ],
    ['spawnlet pod top --containers web', 'each of its containers'],
  ],
  async run({ options, arguments: [name] }, context) {
    const { host, signal } = context;
    const { files, clock } = host;
    const pods =
      name === undefined
        ? (await knownPods(files)).filter(({ identity }) =>
            options.namespace === undefined ? true : identity.namespace === options.namespace,
          )
        : [await getPod(files, namespaceOf(options), name)];
    const systemd = await context.systemd();
    const groups = await Promise.all(
      pods.map(async (known): Promise<Groups> => {
        const group = await groupOf(known, systemd, signal);
        const names = group === '' ? [] : members(known.pod).map(({ spec }) => spec.name);
        return {
          known,
          group,
          containers: names.map(each => [each, `${group}/${unitOf(known.identity, each)}`] as const),
        };
      }),
    );
    const there = groups.filter(({ group }) => group !== '');
    const [before, begin] = [await sampleAll(files, there), clock.now()];
    if (there.length > 0) await clock.sleep(window, signal);
    const [after, end] = [await sampleAll(files, there), clock.now()];
    const usage = (group: string): Usage[] => {
      const [one, two] = [before.get(group), after.get(group)];
      return one && two ? [usageOf(one, two, end - begin)] : [];
    };
    const sorted = <U extends Usage>(rows: readonly U[]): readonly U[] => {
      const by = options['sort-by'] as 'cpu' | 'memory' | undefined;
      return by ? rows.toSorted((a, b) => b[by] - a[by]) : rows;
    };
    const rows = there.flatMap(({ known, group, containers }): PodUsage[] =>
      usage(group).map(own => ({
        ...own,
        known,
        containers: containers.flatMap(([each, path]) => usage(path).map(its => ({ ...its, name: each }))),
      })),
    );
    if (options.output === 'json' || options.output === 'yaml')
      await print(
        sorted(rows).map(row => documentOf(row, end)),
        options.output,
      );
    else if (options.containers) {
      const each = rows.flatMap(({ known, containers }) => containers.map(one => ({ ...one, known })));
      process.stdout.write(table(sorted(each), containerColumns));
    } else process.stdout.write(table(sorted(rows), podColumns));
    return 0;
  },
});
