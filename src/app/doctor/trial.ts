import { lstatSync, readlinkSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { defaultCapabilities, possibleCapabilities } from '../../engine/capabilities.ts';
import { cgroupVersion } from '../../engine/cgroup.ts';
import type { ContainerSpec, Mount } from '../../engine/container.ts';
import { engines } from '../../engine/engines.ts';
import { runDirectories } from '../../engine/script.ts';
import type { Seccomp } from '../../engine/seccomp.ts';
import type { Host } from '../../host/host.ts';

/** No container of a user can have such a name: theirs begin with a letter or digit. */
const trialName = (engine: keyof typeof engines) => `.doctor-${engine}`;
/** One that nothing gives by accident. */
const exitCode = 42;

/** How a trial went: the program's exit code came through, or what was said instead. */
export type Trial = { readonly kind: 'ran' } | { readonly kind: 'failed'; readonly said: string };

/**
 * Runs a shell of this host in a container, by the scripts, the bundle and the unit's settings that `spawnlet run`
 * uses. Its root file system is an overlay without layers, with the host's programs bound in, read-only.
 */
export async function runTrial(
  host: Host,
  engine: keyof typeof engines,
  directory: string,
  seccomp: Seccomp | 'unconfined',
  signal: AbortSignal,
): Promise<Trial> {
  const { files, children } = host;
  const spec = trialSpec(
    trialName(engine),
    directory,
    seccomp,
    await readFile('/proc/self/status', 'latin1'),
  );
  for (const name of ['upper', 'work', 'empty']) await files.makeDirectory(`${directory}/${name}`, 0o755);
  for (const name of programDirectories) {
    const target = linkAt(`/${name}`);
    if (target !== undefined) await files.link(`${directory}/empty/${name}`, target);
  }
  await files.write(`${directory}/config.json`, JSON.stringify(engines[engine].bundle(spec, {})), 0o600);
  await files.write(
    `${directory}/start`,
    engines[engine].startScript(spec, { removeAfterwards: false, register: false }),
    0o600,
  );
  const properties = [
    'PrivateMounts=yes',
    'Delegate=yes',
    'DevicePolicy=closed',
    'KillMode=mixed',
    ...runDirectories(spec).map(words => words.join('=')),
    'TimeoutStopSec=5',
    'RuntimeMaxSec=30',
  ];
  const { code, stderr } = await children.capture(
    [
      ...'systemd-run --quiet --wait --pipe --collect --no-ask-password'.split(' '),
      ...properties.map(text => `--property=${text}`),
      '/bin/bash',
      `${directory}/start`,
    ],
    { signal },
  );
  if (code === exitCode) return { kind: 'ran' };
  const told = (await files.read(`${directory}/error`))?.trim() || stderr.trim();
  return { kind: 'failed', said: told.split('\n').at(-1) || `it ended with ${code} instead of ${exitCode}` };
}

const programDirectories = ['usr', 'bin', 'lib', 'lib32', 'lib64'];

function linkAt(path: string): string | undefined {
  return lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() ? readlinkSync(path) : undefined;
}

function trialSpec(
  name: string,
  directory: string,
  seccomp: Seccomp | 'unconfined',
  status: string,
): ContainerSpec {
  const bounding = /^CapBnd:\s*([0-9a-f]+)$/m.exec(status)?.[1] ?? '0';
  const bound = programDirectories.filter(name =>
    lstatSync(`/${name}`, { throwIfNoEntry: false })?.isDirectory(),
  );
  return {
    name,
    directory,
    args: ['/bin/sh', '-c', `exit ${exitCode}`],
    env: ['PATH=/usr/bin:/bin'],
    cwd: '/',
    user: { uid: 0, gid: 0, additionalGids: [] },
    hostname: '',
    terminal: false,
    stdin: false,
    layers: [],
    readOnly: false,
    mounts: bound.map(
      (name): Mount => ({
        kind: 'bind',
        source: `/${name}`,
        target: `/${name}`,
        readOnly: true,
        propagation: 'rprivate',
      }),
    ),
    volumes: [],
    missingDirectory: undefined,
    devices: [],
    capabilities: possibleCapabilities(defaultCapabilities, bounding),
    privileged: false,
    noNewPrivileges: false,
    seccomp,
    network: 'host',
    cgroups: cgroupVersion(),
    limits: {},
    stopSignal: 15,
    stopTimeout: 5,
  };
}
