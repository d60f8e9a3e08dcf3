import { SpawnletError } from '../host/error.ts';

/** Docker's default set: what an unprivileged container may do as its own root. */
export const defaultCapabilities: readonly string[] = [
  'CAP_AUDIT_WRITE',
  'CAP_CHOWN',
  'CAP_DAC_OVERRIDE',
  'CAP_FOWNER',
  'CAP_FSETID',
  'CAP_KILL',
  'CAP_MKNOD',
  'CAP_NET_BIND_SERVICE',
  'CAP_NET_RAW',
  'CAP_SETFCAP',
  'CAP_SETGID',
  'CAP_SETPCAP',
  'CAP_SETUID',
  'CAP_SYS_CHROOT',
];

/** All of capabilities(7), in the order of their numbers. */
export const allCapabilities: readonly string[] = [
  'CAP_CHOWN',
  'CAP_DAC_OVERRIDE',
  'CAP_DAC_READ_SEARCH',
  'CAP_FOWNER',
  'CAP_FSETID',
  'CAP_KILL',
  'CAP_SETGID',
  'CAP_SETUID',
  'CAP_SETPCAP',
  'CAP_LINUX_IMMUTABLE',
  'CAP_NET_BIND_SERVICE',
  'CAP_NET_BROADCAST',
  'CAP_NET_ADMIN',
  'CAP_NET_RAW',
  'CAP_IPC_LOCK',
  'CAP_IPC_OWNER',
  'CAP_SYS_MODULE',
  'CAP_SYS_RAWIO',
  'CAP_SYS_CHROOT',
  'CAP_SYS_PTRACE',
  'CAP_SYS_PACCT',
  'CAP_SYS_ADMIN',
  'CAP_SYS_BOOT',
  'CAP_SYS_NICE',
  'CAP_SYS_RESOURCE',
  'CAP_SYS_TIME',
  'CAP_SYS_TTY_CONFIG',
  'CAP_MKNOD',
  'CAP_LEASE',
  'CAP_AUDIT_WRITE',
  'CAP_AUDIT_CONTROL',
  'CAP_SETFCAP',
  'CAP_MAC_OVERRIDE',
  'CAP_MAC_ADMIN',
  'CAP_SYSLOG',
  'CAP_WAKE_ALARM',
  'CAP_BLOCK_SUSPEND',
  'CAP_AUDIT_READ',
  'CAP_PERFMON',
  'CAP_BPF',
  'CAP_CHECKPOINT_RESTORE',
];

/**
 * The set that `--cap-add` and `--cap-drop` leave of `base`, as Docker combines them: names with or without `CAP_`,
 * in any case, or `ALL`; a name that is both added and dropped is dropped, unless ALL is dropped.
 *
 * @throws ERR_CAPABILITY for a name that is no capability.
 */
export function capabilitySet(
  base: readonly string[],
  add: readonly string[],
  drop: readonly string[],
): readonly string[] {
  const added = add.map(normal);
  const dropped = drop.map(normal);
  const start = added.includes('ALL') ? allCapabilities : dropped.includes('ALL') ? [] : base;
  const wanted = new Set([...start, ...added]);
  for (const name of dropped) wanted.delete(name);
  return allCapabilities.filter(name => wanted.has(name));
}

function normal(name: string): string {
  const upper = name.toUpperCase();
  if (upper === 'ALL') return upper;
  const full = upper.startsWith('CAP_') ? upper : `CAP_${upper}`;
  if (allCapabilities.includes(full)) return full;
  throw new SpawnletError('ERR_CAPABILITY', `'${name}' is no capability`, {
    hint: 'capabilities(7) lists them',
  });
}

/** Those of `set` that the running process has in its bounding set (the hex mask of /proc/self/status). */
export function possibleCapabilities(set: readonly string[], boundingMask: string): readonly string[] {
  const mask = BigInt(`0x${boundingMask}`);
  return set.filter(name => ((mask >> BigInt(allCapabilities.indexOf(name))) & 1n) === 1n);
}
