import assert from 'node:assert/strict';
import { test } from 'node:test';
import { run } from './run.ts';

/** The flags of podman-run(1), version 5. */
const ofPodman =
  'add-host annotation arch attach authfile blkio-weight blkio-weight-device cap-add cap-drop cert-dir cgroup-conf cgroup-parent ' +
  'cgroupns cgroups chrootdirs cidfile conmon-pidfile cpu-period cpu-quota cpu-rt-period cpu-rt-runtime cpu-shares cpus cpuset-cpus ' +
  'cpuset-mems creds decryption-key detach detach-keys device device-cgroup-rule device-read-bps device-read-iops device-write-bps ' +
  'device-write-iops disable-content-trust dns dns-option dns-search entrypoint env env-file env-host env-merge expose gidmap gpus ' +
  'group-add group-entry health-cmd health-interval health-log-destination health-max-log-count health-max-log-size ' +
  'health-on-failure health-retries health-start-period health-startup-cmd health-startup-interval health-startup-retries ' +
  'health-startup-success health-startup-timeout health-timeout hostname hosts-file hostuser http-proxy image-volume init init-path ' +
  'interactive ip ip6 ipc label label-file link-local-ip log-driver log-opt mac-address memory memory-reservation memory-swap ' +
  'memory-swappiness mount name network network-alias no-healthcheck no-hosts no-hostname oom-kill-disable oom-score-adj os passwd ' +
  'passwd-entry personality pid pidfile pids-limit platform pod pod-id-file preserve-fd preserve-fds privileged publish publish-all ' +
  'pull quiet rdt-class read-only read-only-tmpfs replace requires restart retry retry-delay rm rmi rootfs sdnotify ' +
  'seccomp-policy secret security-opt shm-size shm-size-systemd sig-proxy stop-signal stop-timeout subgidname subuidname sysctl ' +
  'systemd timeout tls-verify tmpfs tty tz uidmap ulimit umask unsetenv unsetenv-all user userns uts variant volume volumes-from workdir';

test('run takes each flag of podman’s, or says what to use instead', () => {
  const known = new Set([...Object.keys(run.options ?? {}), ...Object.keys(run.refused ?? {})]);
  assert.deepEqual(
    ofPodman.split(' ').filter(flag => !known.has(flag)),
    [],
  );
});

test('no flag that run takes is refused', () => {
  assert.deepEqual(
    Object.keys(run.options ?? {}).filter(flag => flag in (run.refused ?? {})),
    [],
  );
});
