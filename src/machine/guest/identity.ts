import { readFileSync } from 'node:fs';
import type { MachineSpec } from '../spec.ts';
import type { GuestFile } from './file.ts';
import type { GuestOs } from './os.ts';

/** What makes one machine another than its neighbour; decided once, before the plan. */
export interface Identity {
  /** 32 hex digits, machine-id(5). */
  readonly machineId: string;
  /** Milliseconds since 1970. */
  readonly now: number;
}

/** A new one. The ID is of the form of a random UUID, as systemd makes its own. */
export function newIdentity(now: number): Identity {
  const uuid = readFileSync('/proc/sys/kernel/random/uuid', 'latin1');
  return { machineId: uuid.replaceAll(/[-\n]/g, ''), now };
}

/** What two machines must not share, and what is made anew at the next boot where it is needed. */
const secrets = [
  '/var/lib/systemd/random-seed',
  '/var/lib/systemd/credential.secret',
  '/var/lib/NetworkManager/secret_key',
  '/var/lib/dhcpcd/duid',
  '/etc/dhcpcd.duid',
];

const keysUnit = 'spawnlet-ssh-host-keys.service';

/** Debian's sshd does not start without keys, and makes them only as its package is installed. */
const keysUnitText = `# Written by spawnlet: each machine has host keys of its own, made when sshd first needs them.
[Unit]
Description=SSH host keys of this machine
Before=ssh.service sshd.service
ConditionPathExists=!/etc/ssh/ssh_host_ed25519_key

[Service]
Type=oneshot
ExecStart=/usr/bin/ssh-keygen -A
`;

/**
 * The identity of a fresh clone. The machine ID is given, not left empty or `uninitialized`: an ID that is there means no
 * first boot to systemd, so no presets are applied over what the base has enabled and nobody is asked at the console,
 * and the host knows the ID before the machine has run (the journal is linked by it).
 */
export function identityFiles(spec: MachineSpec, os: GuestOs, { machineId }: Identity): GuestFile[] {
  const files: GuestFile[] = [
    ...secrets.map(path => ({ path, remove: true }) as const),
    ...os.sshHostKeys.map(path => ({ path, remove: true }) as const),
  ];
  if (os.init === 'systemd') {
    files.push({ path: '/etc/machine-id', content: `${machineId}\n`, mode: 0o444 });
    if (os.dbus) files.push({ path: '/var/lib/dbus/machine-id', link: '/etc/machine-id' });
  }
  if (os.sshd === 'needs-keys' && os.init === 'systemd')
    files.push(
      { path: `/etc/systemd/system/${keysUnit}`, content: keysUnitText },
      ...['ssh.service', 'sshd.service'].map(service => ({
        path: `/etc/systemd/system/${service}.wants/${keysUnit}`,
        link: `/etc/systemd/system/${keysUnit}`,
      })),
    );
  return [...files, ...hostnameFiles(spec.firstBoot.hostname ?? spec.name, os)];
}

/** The name, and the line by which it resolves without a name server; hosts(5), hostname(5). */
export function hostnameFiles(hostname: string, os: GuestOs): GuestFile[] {
  const [short = hostname] = hostname.split('.', 1);
  const line = `127.0.1.1\t${hostname}${short === hostname ? '' : ` ${short}`}`;
  const { text, ...own } = os.hosts ?? {
    text: '127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n',
  };
  const kept = text.split('\n').filter(entry => entry !== '' && !/^\s*127\.0\.1\.1\s/.test(entry));
  return [
    { path: '/etc/hostname', content: `${hostname}\n` },
    { path: '/etc/hosts', ...own, content: [...kept, line, ''].join('\n'), encoding: 'latin1' },
  ];
}
