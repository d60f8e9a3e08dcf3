import type { HostStep } from '../host/step.ts';
import { logNamespace, persistentUnits } from '../names.ts';

const journaldSettings = `${persistentUnits.slice(0, persistentUnits.lastIndexOf('/'))}/journald@${logNamespace}.conf`;

/** No line of a container is dropped for coming fast, and containers together do not fill the disk. */
const journaldText = `# Journal of containers that spawnlet runs; journald.conf(5). Read by: journalctl --namespace=${logNamespace}
[Journal]
RateLimitIntervalSec=0
RateLimitBurst=0
SystemMaxUse=512M
RuntimeMaxUse=128M
`;

/**
 * systemd stops these with the last unit that logs in a journal namespace, and with them the journal: its last lines are
 * then not to be read for a while. Since systemd 257 a sixth start of the last one within ten seconds fails, and with it the
 * start of the container. A drop-in keeps them.
 */
const journalUnits = [
  `systemd-journald@${logNamespace}.socket`,
  `systemd-journald-varlink@${logNamespace}.socket`,
  `systemd-journald-sync@${logNamespace}.service`,
].map(unit => `${persistentUnits}/${unit}.d`);

const keptText = `# Keeps the journal of containers there when none runs; made by spawnlet.
[Unit]
StopWhenUnneeded=no
`;

/** The settings of the journal namespace of containers, written once: they are the administrator's from then on. */
export function journalSteps(): HostStep[] {
  return [
    { do: 'write-file', path: journaldSettings, content: journaldText, mode: 0o644, ifAbsent: true },
    ...journalUnits.flatMap((path): HostStep[] => [
      { do: 'make-directory', path, mode: 0o755 },
      { do: 'write-file', path: `${path}/spawnlet.conf`, content: keptText, mode: 0o644 },
    ]),
  ];
}
