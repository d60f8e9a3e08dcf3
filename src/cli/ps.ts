import type { Health } from '../app/health.ts';
import type { App } from '../app/observe.ts';
import type { AppState } from '../app/status.ts';
import { signalName } from '../engine/signal.ts';
import type { PublishedPort } from '../network/spec.ts';
import { addressOf } from '../network/subnet.ts';
import { defineCommand, outputOption } from './command.ts';
import { containers } from './containers.ts';
import { ago, duration, type List, printList, rfc3339 } from './output.ts';

/**
 * When a container's current or last run began and ended, in milliseconds since 1970; undefined where it is not known. A
 * record has whole seconds; while the unit is loaded, it knows better.
 */
export function timesOf({ state, unit, record }: Pick<App, 'state' | 'unit' | 'record'>) {
  if (state.kind === 'running') return { started: state.since, ended: undefined };
  const exact = unit.ExecMainExitTimestamp > 0 && record?.invocation === unit.InvocationID;
  const ended = 'ended' in state ? state.ended : undefined;
  return {
    started: unit.ExecMainStartTimestamp / 1000,
    ended: ended !== undefined && exact ? unit.ExecMainExitTimestamp / 1000 : ended,
  };
}

function reasonOf({
  exitCode,
  oomKilled,
}: {
  readonly exitCode: number;
  readonly oomKilled: boolean;
}): string {
  if (oomKilled) return ', out of memory';
  return exitCode > 128 && exitCode <= 192 ? `, ${signalName(exitCode - 128)}` : '';
}

const times = (count: number) => (count === 1 ? 'once' : `${count} times`);

/**
 * `Up 5 minutes`, `Exited (137) 3 minutes ago, out of memory`, `Restarting (1) 1 second ago`: podman's and docker's words.
 * `restarts` is how often systemd has started it again since somebody did.
 */
export function describeState(
  state: AppState,
  restarts: number,
  now: number,
  health?: Health['status'],
): string {
  if (state.kind === 'running') {
    const again = restarts > 0 ? `, restarted ${times(restarts)}` : '';
    return `Up ${duration(now - state.since)}${again}${health === undefined ? '' : ` (${health})`}`;
  }
  const word = `${state.kind.slice(0, 1).toUpperCase()}${state.kind.slice(1)}`;
  if (!('exitCode' in state)) return word;
  const when = state.ended === undefined ? '' : ` ${ago(state.ended, now)}`;
  return `${word} (${state.exitCode})${when}${reasonOf(state)}`;
}

/** `8080->80/tcp`, `127.0.0.1:53->53/udp`: podman's and docker's form; without an address it is all of the host's. */
const shownPort = ({ address, hostPort, port, protocol }: PublishedPort) => {
  const host = address === undefined ? '' : `${address.includes(':') ? `[${address}]` : address}:`;
  return `${host}${hostPort}->${port}/${protocol}`;
};

/** A row as `-o json` gives it. Times are RFC 3339; null where there is none, or where it is not known. */
export function rowOf(app: App, now: number) {
  const { started, ended } = timesOf(app);
  const { state } = app;
  return {
    name: app.name,
    image: app.image,
    command: app.bundle.process.args.join(' '),
    created: app.created,
    state: state.kind,
    status: describeState(state, app.unit.NRestarts, now, app.health?.known.status),
    ...(app.health && state.kind === 'running' && { health: app.health.known.status }),
    started: rfc3339(started),
    ended: rfc3339(ended),
    ...('exitCode' in state && { exitCode: state.exitCode, oomKilled: state.oomKilled }),
    restarts: app.unit.NRestarts,
    unit: app.unit.Id,
    engine: app.request.engine,
    network: app.request.network,
    addresses: (app.network?.addresses ?? []).map(addressOf),
    ports: (app.network?.ports ?? []).map(shownPort),
    labels: app.request.labels,
  };
}

const cut = (text: string, width: number) => (text.length > width ? `${text.slice(0, width - 1)}…` : text);

const list = (now: number): List<ReturnType<typeof rowOf>> => ({
  columns: [
    ['NAME', row => row.name],
    ['IMAGE', row => row.image],
    ['COMMAND', row => cut(row.command, 30)],
    ['CREATED', row => ago(Date.parse(row.created), now)],
    ['STATUS', row => row.status],
    ['PORTS', row => row.ports.join(', ')],
  ],
  key: row => row.name,
});

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
  examples: [
    ['spawnlet ps -a', 'with exit codes of those that have ended'],
    ['spawnlet ps -a -o json', 'with exact times'],
  ],
  async run({ options }, context) {
    const now = context.host.clock.now();
    const apps = await (await containers(context)).list(context.signal);
    const ended = new Set(['exited', 'created']);
    const rows = apps.filter(app => options.all || !ended.has(app.state.kind)).map(app => rowOf(app, now));
    await printList(rows, list(now), options);
    return 0;
  },
});
