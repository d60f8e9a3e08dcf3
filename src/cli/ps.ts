import type { App } from '../app/app.ts';
import { describeState } from '../app/status.ts';
import { defineCommand, outputOption } from './command.ts';
import { ago, type Column, printList } from './output.ts';

/** A row as `-o json` gives it. */
export function rowOf(app: App) {
  return {
    name: app.name,
    image: app.image,
    command: app.bundle.process.args.join(' '),
    created: app.created,
    state: app.state.kind,
    status: describeState(app.state),
    ...(app.state.kind === 'exited' && { exitCode: app.state.exitCode, oomKilled: app.state.oomKilled }),
    unit: app.unit.Id,
    engine: app.request.engine,
    labels: app.request.labels,
  };
}

type Row = ReturnType<typeof rowOf>;

const cut = (text: string, width: number) => (text.length > width ? `${text.slice(0, width - 1)}…` : text);

const columns: readonly Column<Row>[] = [
  ['NAME', row => row.name],
  ['IMAGE', row => row.image],
  ['COMMAND', row => cut(row.command, 30)],
  ['CREATED', row => ago(Date.parse(row.created), Date.now())],
  ['STATUS', row => row.status],
];

export const ps = defineCommand({
  name: 'ps',
  group: 'Containers',
  summary: 'List containers',
  synopsis: '[FLAG…]',
  arity: [0, 0],
  options: {
    all: { type: 'boolean', short: 'a', help: 'also those that are not running' },
    quiet: { type: 'boolean', short: 'q', help: 'names only' },
    ...outputOption,
  },
  refused: {
    filter: 'spawnlet ps -o json gives every field',
    format: 'use -o json or -o yaml',
    n: 'not there',
  },
  examples: [['spawnlet ps -a', 'with exit codes of those that have ended']],
  async run({ options }, context) {
    const apps = await (await context.apps()).list(context.signal);
    const ended = new Set(['exited', 'created']);
    const rows = apps.filter(app => options.all || !ended.has(app.state.kind)).map(rowOf);
    if (options.quiet) process.stdout.write(rows.map(row => `${row.name}\n`).join(''));
    else await printList(rows, columns, options.output);
    return 0;
  },
});
