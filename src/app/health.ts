import { SpawnletError } from '../host/error.ts';
import type { HostStep } from '../host/step.ts';
import type { ImageConfig } from '../image/manifest.ts';
import { formatVersion, persistentUnits, transientUnits } from '../names.ts';
import { description, execLine } from '../systemd/escape.ts';
import { renderUnit, section, unitFile } from '../systemd/unit-file.ts';
import type { RunRequest } from './request.ts';

/** Whether the program of a container is well: a command in it that a timer asks, as podman and docker have it. */

/** What of it was asked for; `off`: not even what the image says. Times are milliseconds. */
export type HealthFlags =
  | 'off'
  | {
      /** As the image's HEALTHCHECK has it: `CMD`, `CMD-SHELL` or `NONE` first. */
      readonly test?: readonly string[];
      /** 0: nobody asks but who calls `healthcheck run`. */
      readonly interval?: number;
      readonly timeout?: number;
      readonly retries?: number;
      readonly startPeriod?: number;
      readonly onFailure?: OnFailure;
    };

export const failureActions = ['none', 'kill', 'restart', 'stop'] as const;
/** What becomes of a container that is not well. */
export type OnFailure = (typeof failureActions)[number];

/** A check that is decided. */
export interface Healthcheck {
  readonly args: readonly string[];
  readonly interval: number;
  readonly timeout: number;
  /** Failures in a row until it is unhealthy. */
  readonly retries: number;
  /** From the start of the container: failures do not count until then. */
  readonly startPeriod: number;
  readonly onFailure: OnFailure;
}

const second = 1000;

/**
 * The check of a container; undefined if it has none.
 *
 * @throws ERR_FLAG_CONFLICT for flags of a check that nobody has named
 */
export function healthOf({ health = {} }: RunRequest, { healthcheck }: ImageConfig): Healthcheck | undefined {
  if (health === 'off') return undefined;
  const [form = 'NONE', ...words] = health.test ?? healthcheck?.test ?? [];
  if (form === 'NONE' || words.length === 0) {
    const flag = Object.keys(health).find(key => key !== 'test');
    if (flag === undefined) return undefined;
    throw new SpawnletError(
      'ERR_FLAG_CONFLICT',
      'flags of a health check go with a command, and there is none',
      {
        hint: 'name it: --health-cmd',
      },
    );
  }
  return {
    args: form === 'CMD-SHELL' ? ['/bin/sh', '-c', words.join(' ')] : words,
    interval: health.interval ?? (healthcheck?.interval || 30 * second),
    timeout: health.timeout ?? (healthcheck?.timeout || 30 * second),
    retries: health.retries ?? (healthcheck?.retries || 3),
    startPeriod: health.startPeriod ?? healthcheck?.startPeriod ?? 0,
    onFailure: health.onFailure ?? 'none',
  };
}

/** What one question came to. */
export interface HealthResult {
  /** Milliseconds since 1970. */
  readonly start: number;
  readonly end: number;
  /** -1: it did not end in time, or could not be run. */
  readonly exitCode: number;
  readonly output: string;
}

/** What is known of the present run: the file `health` of the container's directory. */
export interface Health {
  readonly version: 1;
  /** Of the unit's run. */
  readonly invocation: string;
  readonly status: 'starting' | 'healthy' | 'unhealthy';
  /** Failures since the last success. */
  readonly failing: number;
  /** The last ones, oldest first. */
  readonly log: readonly HealthResult[];
}

const kept = 5;
export const keptOutput = 500;

export const unknownHealth = (invocation: string): Health => ({
  version: 1,
  invocation,
  status: 'starting',
  failing: 0,
  log: [],
});

/** What was written of that run; of another it says nothing. */
export function parseHealth(text: string | undefined, invocation: string): Health {
  try {
    const health = JSON.parse(text ?? '') as Health;
    if (health.version === 1 && health.invocation === invocation) return health;
  } catch {
    // A full disk has cut it short, or it was never written.
  }
  return unknownHealth(invocation);
}

/** @param started when the container began, milliseconds since 1970 */
export function afterResult(
  health: Health,
  check: Healthcheck,
  result: HealthResult,
  started: number,
): Health {
  const log = [...health.log, result].slice(-kept);
  if (result.exitCode === 0) return { ...health, status: 'healthy', failing: 0, log };
  if (health.status === 'starting' && result.start < started + check.startPeriod) return { ...health, log };
  const failing = health.failing + 1;
  return { ...health, ...(failing >= check.retries && { status: 'unhealthy' }), failing, log };
}

/** The units of a check. A container's name has no colon. */
export const healthTimerOf = (name: string): string => `${name}:health.timer`;
export const healthServiceOf = (name: string): string => `${name}:health.service`;

/** systemd counts no finer. */
const span = (milliseconds: number) => `${Math.max(1, Math.round(milliseconds))}ms`;

/** A second after the start is soon enough for the first one: the program has to begin. */
const first = (interval: number) => span(Math.min(interval, second));

const healthUnits = ['timer', 'service'] as const;

export const healthUnitPaths = (name: string, removeAfterwards: boolean): readonly string[] =>
  healthUnits.map(kind => `${removeAfterwards ? transientUnits : persistentUnits}/${name}:health.${kind}`);

/**
 * The timer comes and goes with the container's unit, which wants it; the service is not of the container's, so that it may
 * restart it.
 *
 * @param spawnlet words that run it
 */
export function healthSteps(
  { name, removeAfterwards }: Pick<RunRequest, 'name' | 'removeAfterwards'>,
  { interval }: Healthcheck,
  spawnlet: readonly string[],
): HostStep[] {
  const mark = section('X-Spawnlet', [['FormatVersion', String(formatVersion)]]);
  const title = `Whether container ${name} is well, made by 'spawnlet run'.`;
  const timer = renderUnit(
    unitFile(title, [
      section('Unit', [
        ['Description', description(`Health of container ${name}`)],
        ['BindsTo', `${name}.service`],
        ['After', `${name}.service`],
      ]),
      section('Timer', [
        ['OnActiveSec', first(interval)],
        ['OnUnitInactiveSec', span(interval)],
        ['AccuracySec', '100ms'],
      ]),
      mark,
    ]),
  );
  const service = renderUnit(
    unitFile(title, [
      section('Unit', [
        ['Description', description(`Health of container ${name}`)],
        ['StartLimitIntervalSec', '0'],
      ]),
      section('Service', [
        ['Type', 'oneshot'],
        ['ExecStart', execLine([...spawnlet, 'healthcheck', 'run', name], '-')],
        ['StandardOutput', 'null'],
        // That it has begun and ended is no news.
        ['LogLevelMax', 'notice'],
      ]),
      mark,
    ]),
  );
  const [timerPath = '', servicePath = ''] = healthUnitPaths(name, removeAfterwards);
  return [
    { do: 'write-file', path: servicePath, content: service, mode: 0o644 },
    { do: 'write-file', path: timerPath, content: timer, mode: 0o644 },
  ];
}
