import type { HostStep } from '../host/step.ts';
import { formatVersion, persistentUnits } from '../names.ts';
import { execLine } from '../systemd/escape.ts';
import type { SystemdStep } from '../systemd/executors.ts';
import { renderUnit, section, unitFile } from '../systemd/unit-file.ts';

/** The agent's own unit. */
export const agentUnit = 'spawnlet-kubelet.service';
/** Held by the agent while it runs, however it was started. */
export const agentLock = 'kubelet';
export const agentUnitPath = `${persistentUnits}/${agentUnit}`;

/**
 * No setting of it makes a mount namespace: what the agent mounts has to be where systemd sees it. It may be stopped, killed
 * and restarted at any time: pods are units of their own.
 *
 * @param words that run the agent
 */
const unitText = (words: readonly string[]): string =>
  renderUnit(
    unitFile("spawnlet's agent: runs the pods of this host. Written by 'spawnlet kubelet install'.", [
      section('Unit', [
        ['Description', 'Pods of this host'],
        ['Wants', 'network-online.target'],
        ['After', 'network-online.target nss-lookup.target nftables.service'],
        ['StartLimitIntervalSec', '0'],
      ]),
      section('Service', [
        ['Type', 'exec'],
        ['ExecStart', execLine(words)],
        ['Restart', 'always'],
        ['RestartSec', '1'],
        ['KillMode', 'process'],
      ]),
      section('Install', [['WantedBy', 'multi-user.target']]),
      section('X-Spawnlet', [['FormatVersion', String(formatVersion)]]),
    ]),
  );

type Step = HostStep | SystemdStep;

/**
 * The unit is there and runs. An agent that runs by another one, as by that of another version, ends and leaves its pods to the new one.
 *
 * @param there the text of the unit that is there
 */
export const installSteps = (words: readonly string[], there: string | undefined): Step[] => [
  ...(there === undefined || there === unitText(words)
    ? []
    : ([{ do: 'stop-unit', name: agentUnit }] as const)),
  { do: 'write-file', path: agentUnitPath, content: unitText(words), mode: 0o644 },
  { do: 'reload-manager', name: agentUnit },
  { do: 'enable-unit', name: agentUnit },
  { do: 'start-unit', name: agentUnit },
];

/** Pods go on without it. */
export const uninstallSteps: readonly Step[] = [
  { do: 'stop-unit', name: agentUnit },
  { do: 'disable-unit', name: agentUnit },
  { do: 'remove', path: agentUnitPath },
];
