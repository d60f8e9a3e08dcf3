import type { App } from '../app/observe.ts';
import { unitPathOf } from '../app/plan.ts';
import { directoryOf } from '../app/spec.ts';
import { defineCommand, documentOption } from './command.ts';
import { containers } from './containers.ts';
import { print, rfc3339 } from './output.ts';
import { rowOf, timesOf } from './ps.ts';

/** A state with its times as RFC 3339 has them. */
function stateOf(app: App) {
  const { started, ended } = timesOf(app);
  if (app.state.kind === 'running') return { ...app.state, since: rfc3339(started) };
  return 'ended' in app.state ? { ...app.state, ended: rfc3339(ended) } : app.state;
}

/** What is known of its health, with times as RFC 3339 has them. */
const healthOf = ({ known }: NonNullable<App['health']>) => ({
  status: known.status,
  failingStreak: known.failing,
  log: known.log.map(({ start, end, ...rest }) => ({ start: rfc3339(start), end: rfc3339(end), ...rest })),
});

/** Of a run that goes on, the record holds what would be so if nobody saw its end. */
const lastRunOf = ({ record, state }: App) =>
  record === undefined || (record.ended === 0 && ['running', 'starting', 'stopping'].includes(state.kind))
    ? null
    : { ...record, ended: rfc3339(record.ended * 1000) };

/** systemd's microseconds since 1970, which it gives as 0 for what has not happened yet. */
const propertiesOf = ({ unit }: App) =>
  Object.fromEntries(
    Object.entries(unit).map(([name, value]) => [
      name,
      name.endsWith('Timestamp') ? rfc3339(Number(value) / 1000) : value,
    ]),
  );

export const inspect = defineCommand({
  name: 'inspect',
  group: 'Containers',
  summary: 'Show all that is known of containers',
  synopsis: '[-o json|yaml] NAME…',
  arity: [1, Number.POSITIVE_INFINITY],
  options: documentOption,
  refused: { format: 'use -o json or -o yaml', f: 'use -o json or -o yaml' },
  examples: [['spawnlet inspect web', 'its state, its unit and its bundle']],
  async run({ options, arguments: names }, context) {
    const apps = await containers(context);
    const found = await Promise.all(names.map(name => apps.get(name, context.signal)));
    const documents = found.map(app => ({
      ...rowOf(app, context.host.clock.now()),
      imageDigest: app.imageDigest,
      state: stateOf(app),
      ...(app.health && { healthcheck: app.health.check, health: healthOf(app.health) }),
      lastRun: lastRunOf(app),
      unitFile: unitPathOf(app.name, app.request.removeAfterwards),
      unitProperties: propertiesOf(app),
      request: app.request,
      process: app.bundle.process,
      mounts: app.bundle['mounts'],
      bundle: `${directoryOf(app.name)}/config.json`,
    }));
    await print(documents, options.output);
    return 0;
  },
});
