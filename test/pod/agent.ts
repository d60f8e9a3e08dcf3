/** The agent that runs pods, as tests of pods start, kill and ask it. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before } from 'node:test';
import { ended } from '../../src/host/child.ts';
import { podsDirectory } from '../../src/names.ts';
import type { Event, Pod } from '../../src/pod/api/kubernetes.ts';
import {
  debianImage,
  done,
  eventually,
  type Fixture,
  spawnlet,
  system,
  useImages,
  words,
} from '../app/tools.ts';
import type { TestImage } from '../harness/images.ts';

export const manifests = '/etc/spawnlet/manifests';

export interface TestAgent extends AsyncDisposable {
  readonly pid: () => number;
  /** What it has said. */
  readonly said: () => string;
  /** Ends it as a crash would. Pods go on. */
  kill(): Promise<void>;
  /** Starts one in the place of a killed one, with these flags, too. */
  start(...more: readonly string[]): void;
}

/** Starts the agent; at the end it removes all pods, then the agent. */
export async function useAgent(...flags: readonly string[]): Promise<TestAgent> {
  await mkdir(manifests, { recursive: true });
  let said = '';
  let child: ChildProcess | undefined;
  const start = (...more: readonly string[]) => {
    const [program = '', ...rest] = words('kubelet', ...flags, ...more);
    child = spawn(program, rest, { stdio: ['ignore', 'ignore', 'pipe'] });
    child.stderr?.on('data', (chunk: Buffer) => {
      said += chunk.toString();
    });
  };
  const end = async (signal: NodeJS.Signals) => {
    if (!child) return;
    const over = ended(child);
    child.kill(signal);
    await over;
    child = undefined;
  };
  start();
  // Commands look whether there is one.
  await eventually(async () => existsSync('/run/spawnlet/lock/kubelet.lock'), 'the agent runs');
  return {
    pid: () => child?.pid ?? 0,
    said: () => said,
    kill: () => end('SIGKILL'),
    start,
    async [Symbol.asyncDispose]() {
      await rm(manifests, { recursive: true });
      await mkdir(manifests);
      try {
        await eventually(async () => (await pods()).length === 0, `all pods go\n${said}`);
      } finally {
        // The test's process would not end before it.
        await end('SIGTERM');
      }
    },
  };
}

/** What the tests of a file have for all of them. */
export interface TestHost {
  readonly agent: TestAgent;
  readonly images: Fixture;
}

/**
 * An agent, the image {@link image}, and others by their tags, for all tests of a file. What has to be there first, and what is
 * to be done then, are said here: hooks of a whole file run at once.
 */
export function useHost({
  flags = [],
  images = () => ({}),
  prepare = async () => undefined,
  begin = async () => undefined,
}: {
  readonly flags?: readonly string[];
  readonly images?: () => Readonly<Record<string, TestImage>>;
  readonly prepare?: () => Promise<unknown>;
  readonly begin?: () => Promise<void>;
} = {}): TestHost {
  let host: TestHost | undefined;
  before(async () => {
    await prepare();
    const all = await useImages({ deb: debianImage(), ...images() });
    host = { images: all, agent: await useAgent(...flags) };
    await begin();
  });
  after(async () => {
    await host?.agent[Symbol.asyncDispose]();
    await host?.images[Symbol.asyncDispose]();
  });
  const now = () => {
    assert.ok(host, 'there is an agent');
    return host;
  };
  return {
    get agent() {
      return now().agent;
    },
    get images() {
      return now().images;
    },
  };
}

export const image = 'localhost/images:deb';

/** A script that goes on until it is told to end, and then does. */
export const forever = 'trap "exit 0" TERM; while :; do sleep 0.05; done';

/** A container that runs a script. */
export const container = (name: string, script: string, more: object = {}) => ({
  name,
  image,
  command: ['sh', '-c', script],
  ...more,
});

/** Has a manifest run, or another in its place. */
export async function apply(name: string, manifest: object): Promise<void> {
  // As an editor does: whoever reads it finds the old one or the new one.
  await writeFile(join(manifests, `.${name}`), JSON.stringify(manifest), { mode: 0o600 });
  await rename(join(manifests, `.${name}`), join(manifests, `${name}.yaml`));
}

export const remove = (name: string): Promise<void> => rm(join(manifests, `${name}.yaml`));

export const pods = async (): Promise<Pod[]> => JSON.parse(await done(['pod', 'ls', '-o', 'json'])) as Pod[];

export async function podNamed(name: string): Promise<Pod | undefined> {
  const { code, out } = await spawnlet(['pod', 'get', name]);
  return code === 0 ? (JSON.parse(out) as Pod) : undefined;
}

/** All that pods have on a host: files, namespaces, units, cgroups, mounts, addresses, processes. */
export const ofPods = (): Promise<string> =>
  system(
    'sh',
    '-c',
    `find /run/netns /run/spawnlet/netns /run/spawnlet/pods /run/spawnlet/cni /var/lib/spawnlet/pods -mindepth 1 2>/dev/null | grep -vE 'lock|last_reserved_ip|cni/[^/]*$' | sort
     ls /run/systemd/system /run/systemd/system.control 2>/dev/null | grep -E '^(\\.|pod-|kubepods)' | grep -vE '^kubepods(-[a-z]*)?.slice'
     systemctl list-units --all --plain --no-legend 'pod-*' 'kubepods-*pod*'
     find /sys/fs/cgroup -name 'kubepods*-pod*' -o -name 'pod-*'
     findmnt -no TARGET -l | grep -v '^/proc\\|^/sys' | sort
     ps -e -o comm= | grep -E 'conmon|crun|nspawn'
     :`,
  );

/** What has happened to a pod: `REASON CONTAINER xCOUNT`, the latest last. */
export async function eventsOf(name: string): Promise<string[]> {
  const events = JSON.parse(await done(['pod', 'events', '-o', 'json', name])) as Event[];
  return events.map(({ reason, involvedObject: { fieldPath = '' }, count }) => {
    return `${reason} ${/\{(.*)\}/.exec(fieldPath)?.[1] ?? '-'} x${count}`;
  });
}
/** What a script says in a pod's first container. */
export const inside = (pod: string, script: string): Promise<string> =>
  done(['pod', 'exec', pod, '--', 'sh', '-c', script]);

/** Waits until nothing is left of a pod. Its directory goes last. */
export const gone = (name: string): Promise<unknown> =>
  eventually(async () => {
    const uids = await readdir(podsDirectory);
    const texts = await Promise.all(
      uids.map(uid => readFile(join(podsDirectory, uid, 'pod.json'), 'utf8').catch(() => '{}')),
    );
    return !texts.some(text => (JSON.parse(text) as Pod).metadata?.name === name);
  }, `pod ${name} is gone`);

/** Waits until a pod is as wanted, and gives it. */
export async function until(
  name: string,
  what: string,
  isSo: (status: NonNullable<Pod['status']>) => boolean,
): Promise<Pod> {
  let last: Pod | undefined;
  return await eventually(async () => {
    last = await podNamed(name);
    return last?.status && isSo(last.status) ? last : undefined;
  }, `pod ${name} ${what}`).catch((cause: unknown) => {
    throw new Error(`pod ${name} is not so: ${what}; ${JSON.stringify(last?.status, undefined, 1)}`, {
      cause,
    });
  });
}

/** Has the one program of a pod run to its end before journald reads anything of what it wrote. */
export async function endUnread(name: string, pod: object): Promise<void> {
  const journald = 'systemd-journald@spawnlet.service';
  await system('systemctl', 'kill', '--signal=STOP', journald);
  try {
    await apply(name, pod);
    const ended = ['-P', 'ExecMainExitTimestampMonotonic', `pod-default-${name}-*.service`];
    await eventually(
      async () => /[1-9]/.test(await system('systemctl', 'show', ...ended)),
      'its program has ended',
    );
  } finally {
    await system('systemctl', 'kill', '--signal=CONT', journald);
  }
  await until(name, 'is over', ({ phase }) => phase === 'Succeeded');
}

export const isReady = ({ conditions = [] }: NonNullable<Pod['status']>): boolean =>
  conditions.some(({ type, status }) => type === 'Ready' && status === 'True');

/** A pod of these containers, which ends fast. */
export const podOf = (
  name: string,
  containers: readonly object[],
  spec: object = {},
  metadata: object = {},
): object => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name, ...metadata },
  spec: { terminationGracePeriodSeconds: 2, containers, ...spec },
});
