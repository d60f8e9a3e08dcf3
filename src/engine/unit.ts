import { formatVersion } from '../names.ts';
import { description, execLine, literally } from '../systemd/escape.ts';
import { renderUnit, section, unitFile } from '../systemd/unit-file.ts';
import type { ContainerSpec, Device, Limits } from './container.ts';
import { namespaceLines } from './propagation.ts';
import { runDirectories } from './script.ts';

export type RestartPolicy =
  | { readonly kind: 'no' }
  | { readonly kind: 'always' }
  /** Undefined: as often as it takes. */
  | { readonly kind: 'on-failure'; readonly retries?: number };

/** What the unit says beyond the container itself. */
export interface UnitOptions {
  readonly description: string;
  readonly image: string;
  readonly imageDigest: string;
  readonly restart: RestartPolicy;
  readonly removeAfterwards: boolean;
  /** Words that fetch the image before each start. */
  readonly pullFirst?: readonly string[];
  /** Units that come and go with it. */
  readonly wants?: readonly string[];
}

type Assignment = readonly [key: string, value: string];

/** conmon, or nspawn, is in the unit beside the container's own processes. */
const keepers = 1;

/** Docker's way of counting CPUs as systemd writes it: 1.5 is 150 %. */
const limitsOf = (limits: Limits): Assignment[] => [
  // As much again in swap, as Docker has it; without a line there would be no limit.
  ...(limits.memory === undefined
    ? []
    : ([
        ['MemoryMax', String(limits.memory)],
        ['MemorySwapMax', String(limits.memory)],
      ] as const)),
  ...(limits.cpus === undefined ? [] : [['CPUQuota', `${Math.round(limits.cpus * 100)}%`] as const]),
  ...(limits.pids === undefined ? [] : [['TasksMax', String(limits.pids + keepers)] as const]),
];

/** Any device node may be made, as Docker has it: packages and archives hold some. None of them can be opened. */
const deviceNodes: Assignment[] = [
  ['DeviceAllow', 'char-* m'],
  ['DeviceAllow', 'block-* m'],
];

/** By its numbers where the path has what systemd 257 hands on to its executor unquoted. */
function deviceOf({ source, type, major, minor, access }: Device): Assignment {
  const isPlain = /^[\w@+=,.:/-]+$/.test(source);
  const numbers = `/dev/${type === 'c' ? 'char' : 'block'}/${major}:${minor}`;
  return ['DeviceAllow', `${isPlain ? source : numbers} ${access}`];
}

/** Which devices can be opened: those of every container, and its own. */
export const deviceLines = (spec: ContainerSpec): Assignment[] => [
  ['DevicePolicy', spec.privileged ? 'auto' : 'closed'],
  // One that is named would close all others.
  ...(spec.privileged ? [] : [...deviceNodes, ...spec.devices.map(deviceOf)]),
];

/** 128+n for death by SIGHUP, SIGINT, SIGPIPE and SIGTERM. */
const signalled = '129 130 141 143';

function restartOf(restart: RestartPolicy): Assignment[] {
  if (restart.kind === 'no') return [];
  return [
    ['Restart', restart.kind],
    ['RestartSec', '1'],
    // A success to the unit, and to a stop of it; a program that ends so by itself has failed.
    ...(restart.kind === 'on-failure' ? ([['RestartForceExitStatus', signalled]] as const) : []),
  ];
}

function startLimitOf(restart: RestartPolicy): Assignment[] {
  const retries = restart.kind === 'on-failure' ? restart.retries : undefined;
  // systemd would refuse a sixth start within ten seconds, also one by hand.
  if (retries === undefined) return [['StartLimitIntervalSec', '0']];
  // The first start counts too.
  return [
    ['StartLimitIntervalSec', 'infinity'],
    ['StartLimitBurst', String(retries + 1)],
  ];
}

const online: Assignment[] = [
  ['Wants', 'network-online.target'],
  ['After', 'network-online.target'],
];

/**
 * The image is fetched outside of the unit, whose limits are for the container; in a unit that is stopped with it. If it cannot
 * be, or if spawnlet is no longer there, the container starts with the image that it has.
 */
const fetching = (name: string, [program = '', ...words]: readonly string[]): Assignment[] => [
  ['TimeoutStartSec', 'infinity'],
  [
    'ExecStartPre',
    execLine(
      [
        '/usr/bin/systemd-run',
        '--quiet',
        '--wait',
        '--collect',
        '--pipe',
        `--description=Fetch the image of container ${name}`,
        `--property=BindsTo=${name}.service`,
        '--',
        program,
        ...literally(words),
      ],
      '-',
    ),
  ],
];

/** What an engine says of its own in the unit. */
export interface EngineLines {
  readonly engine: string;
  /** How the container is asked to end. */
  readonly stop: readonly Assignment[];
  /** Whether systemd runs the script `stopped`. */
  readonly stopped: boolean;
  readonly more: readonly Assignment[];
}

/**
 * The unit of a container. Its text is the same for all runs: what changes from run to run is in the bundle.
 *
 * 128+n for death by SIGHUP, SIGINT, SIGPIPE and SIGTERM counts as success, as systemd has it for processes of its own.
 */
export function containerUnit(spec: ContainerSpec, options: UnitOptions, lines: EngineLines): string {
  const { name, directory } = spec;
  const namespaces = namespaceLines(spec);
  return renderUnit(
    unitFile(`Container ${name}, made by 'spawnlet run'. To change it: systemctl edit ${name}.service`, [
      section('Unit', [
        ['Description', description(options.description)],
        ['Documentation', 'https://github.com/opencontainers/runtime-spec'],
        ...(spec.network === 'host' ? ([['After', 'network.target nss-lookup.target']] as const) : []),
        ...(typeof spec.network === 'object' ? spec.network.unit : []),
        ...(options.pullFirst ? online : []),
        ...(options.wants ?? []).map(unit => ['Wants', unit] as const),
        ['RequiresMountsFor', directory],
        ...namespaces.unit,
        ...(options.removeAfterwards ? ([['CollectMode', 'inactive-or-failed']] as const) : []),
        ...startLimitOf(options.restart),
      ]),
      section('Service', [
        ...(options.pullFirst ? fetching(name, options.pullFirst) : []),
        ['ExecStart', execLine(['/bin/bash', `${directory}/start`])],
        ...(lines.stopped
          ? ([['ExecStopPost', execLine(['/bin/bash', `${directory}/stopped`], '+')]] as const)
          : []),
        ['KillMode', 'mixed'],
        ...lines.stop,
        // 0 would be no limit to systemd; it means at once.
        ['TimeoutStopSec', spec.stopTimeout === 0 ? '1ms' : String(spec.stopTimeout)],
        ['SuccessExitStatus', signalled],
        ...restartOf(options.restart),
        ...namespaces.service,
        ...runDirectories(spec),
        ...limitsOf(spec.limits),
        ...deviceLines(spec),
        ...lines.more,
      ]),
      section('Install', [['WantedBy', 'multi-user.target']]),
      section('X-Spawnlet', [
        ['FormatVersion', String(formatVersion)],
        ['Engine', lines.engine],
        ['Image', description(options.image)],
        ['ImageDigest', options.imageDigest],
      ]),
    ]),
  );
}
