import type { HostStep } from '../host/step.ts';
import { natDirectory, persistentUnits, runtimeDirectory } from '../names.ts';
import { renderUnit, section, unitFile } from '../systemd/unit-file.ts';
import { markOf, type NameServer, nameServerText } from './name-server.ts';
import { natUnit } from './names.ts';
import {
  bridgeSteps,
  machineBridge,
  namesDirectory,
  nft,
  portsDirectory,
  unpublishOf,
} from './nat-bridge.ts';
import type { Assignment } from './spec.ts';
import type { Subnets } from './subnet.ts';

/** What containers need on spawnlet's own bridge beside the bridge: names, and somebody to clean up after a kill. */

/** Keeps the bridge for a while. */
export const lingerUnit = 'spawnlet-nat-linger.service';
const leaveUnit = 'spawnlet-nat-leave@.service';

/** Takes back names and ports of a container. */
export const leavePath = `${natDirectory}/leave`;

/** Answers questions for names. */
const nameServer: NameServer = {
  of: machineBridge,
  unit: 'spawnlet-dns.service',
  users: 'containers',
  runtime: 'spawnlet/dns',
  domains: [],
};
export const dnsUnit = nameServer.unit;
/** Is there while {@link dnsUnit} answers. */
export const dnsMark = markOf(nameServer);

const unitPath = (unit: string) => `${persistentUnits}/${unit}`;

/** Seconds. A run after another finds the bridge; to make it takes longer than to start a container on it. */
const lingers = 300;

const lingerText = () =>
  renderUnit(
    unitFile(`Keeps ${machineBridge.bridge} for a while, for the next container; written by spawnlet.`, [
      section('Unit', [
        ['Description', `Keep bridge ${machineBridge.bridge} for ${lingers} seconds`],
        ['Requires', natUnit],
        ['Wants', dnsUnit],
        ['After', natUnit],
      ]),
      section('Service', [['ExecStart', `/bin/sleep ${lingers}`]]),
    ]),
  );

/** Started by systemd where a container's unit has failed: what was to take back names and ports may have been killed. */
const leaveText = () =>
  renderUnit(
    unitFile('Takes back names and ports of a container that was killed; written by spawnlet.', [
      section('Unit', [['Description', 'Take back names and ports of container %i']]),
      section('Service', [
        ['Type', 'oneshot'],
        // Else there would be one for all that are of this name, and stay.
        ['Slice', 'system.slice'],
        // It may have been started again.
        ['ExecCondition', `/usr/bin/test ! -e ${runtimeDirectory}/app/%i`],
        ['ExecStart', `/bin/sh ${leavePath} %i`],
      ]),
    ]),
  );

const leaveScript = `#!/bin/sh
# Takes back names and ports of the container $1; run by its own scripts, and by ${leaveUnit}.
rm -f ${namesDirectory(machineBridge)}/$1
ports=${portsDirectory(machineBridge)}/$1.nft
[ -e $ports ] || exit 0
sed -n 's/^add /delete /p' $ports | ${nft} -f - 2>/dev/null ||
  /bin/sh ${unpublishOf(machineBridge)} $(sed -n 's/^add .* : \\(.*\\) \\. .*/\\1/p' $ports | sort -u)
rm -f $ports
`;

/** `[Unit]` of a container on the bridge. */
export const bridgeLines = (name: string): Assignment[] => [
  ['Requires', natUnit],
  ['Wants', `${dnsUnit} ${lingerUnit}`],
  ['After', `${natUnit} ${dnsUnit}`],
  ['OnFailure', leaveUnit.replace('@', `@${name}`)],
];

/** Files of the bridge and of what containers need there. */
export function containerBridgeSteps(subnets: Subnets): HostStep[] {
  const write = (path: string, content: string, mode = 0o644): HostStep => ({
    do: 'write-file',
    path,
    content,
    mode,
  });
  return [
    ...bridgeSteps(machineBridge, subnets),
    write(leavePath, leaveScript, 0o755),
    write(unitPath(dnsUnit), nameServerText(nameServer)),
    write(unitPath(lingerUnit), lingerText()),
    write(unitPath(leaveUnit), leaveText()),
  ];
}

/** Paths of {@link containerBridgeSteps} that do not lie in the bridge's own directory. */
export const containerFiles: readonly string[] = [dnsUnit, lingerUnit, leaveUnit].map(unitPath);
