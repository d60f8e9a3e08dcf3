import { eventObject, type PodEvent } from '../pod/status/events.ts';
import { getPod, type KnownPod, knownPods } from '../pod/worker/known.ts';
import { defineCommand, outputOption } from './command.ts';
import { duration, type List, print, printList, table } from './output.ts';
import { namespaceOf, namespaceOption } from './pod.ts';

interface Row {
  readonly known: KnownPod;
  readonly event: PodEvent;
}

const rowsOf = (known: KnownPod): Row[] => (known.kept.events ?? []).map(event => ({ known, event }));

const object = ({ known, event }: Row) => eventObject(known.pod, event);

/** As kubectl has it: `5 seconds (x3 over 2 minutes)`. */
function ageOf({ count, first, last }: PodEvent, now: number): string {
  const age = duration(now - last);
  return count > 1 ? `${age} (x${count} over ${duration(now - first)})` : age;
}

const list = (now: number): List<Row> => ({
  columns: [
    ['LAST SEEN', ({ event }) => ageOf(event, now)],
    ['TYPE', ({ event }) => event.type],
    ['REASON', ({ event }) => event.reason],
    ['NAMESPACE', ({ known }) => known.identity.namespace],
    ['OBJECT', ({ known }) => `Pod/${known.identity.name}`],
    ['CONTAINER', ({ event }) => event.container ?? ''],
    ['MESSAGE', ({ event }) => event.message],
  ],
  key: row => object(row).metadata.name ?? '',
});

/** Lines of `pod describe`. */
export function eventLines({ kept }: KnownPod, now: number): string[] {
  const events = kept.events ?? [];
  if (events.length === 0) return ['Events: none'];
  const text = table(events, [
    ['Type', ({ type }) => type],
    ['Reason', ({ reason }) => reason],
    ['Age', event => ageOf(event, now)],
    ['Container', ({ container = '' }) => container],
    ['Message', ({ message }) => message],
  ]);
  return [
    'Events:',
    ...text
      .trimEnd()
      .split('\n')
      .map(line => `  ${line}`),
  ];
}

export const events = defineCommand({
  name: 'pod events',
  group: 'Pods',
  summary: 'Show what has happened to pods, as the kubelet tells it',
  synopsis: '[FLAG…] [NAME]',
  arity: [0, 1],
  options: { ...namespaceOption, ...outputOption },
  examples: [
    ['spawnlet pod events web', 'of one pod, the latest last'],
    ['spawnlet pod events -o json', 'of all pods, as the API has them'],
  ],
  async run({ options, arguments: [name] }, { host }) {
    const { namespace, output } = options;
    const pods =
      name === undefined
        ? (await knownPods(host.files)).filter(
            ({ identity }) => namespace === undefined || identity.namespace === namespace,
          )
        : [await getPod(host.files, namespaceOf(options), name)];
    const rows = pods.flatMap(rowsOf).sort((a, b) => a.event.last - b.event.last);
    if (output === 'json' || output === 'yaml') await print(rows.map(object), output);
    else await printList(rows, list(host.clock.now()), { output });
    return 0;
  },
});
