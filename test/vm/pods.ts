/** Pods on systemd as PID 1 and cgroup v2, by each engine that runs images. */
import assert from 'node:assert/strict';
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { done, ofGroup, runsIn, spawnlet, system, traces, until, words } from './guest.ts';
import type { Check } from './report.ts';

const manifests = '/etc/spawnlet/manifests';
const megabytes = 2 ** 20;

interface Status {
  readonly phase?: string;
  readonly conditions?: readonly { readonly type: string; readonly status: string }[];
  readonly containerStatuses?: readonly {
    readonly state?: { readonly terminated?: { readonly exitCode: number; readonly reason: string } };
  }[];
}

const manifest = (name: string, engine: string, script: string, memory: string) => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name },
  spec: {
    hostNetwork: true,
    restartPolicy: 'Never',
    terminationGracePeriodSeconds: 2,
    ...(engine !== 'crun' && { runtimeClassName: engine }),
    containers: [
      {
        name: 'main',
        image: 'localhost/images:busybox',
        command: ['sh', '-c', script],
        resources: { limits: { memory, cpu: '500m' } },
      },
    ],
  },
});

async function apply(name: string, ...rest: [engine: string, script: string, memory: string]): Promise<void> {
  await mkdir(manifests, { recursive: true });
  await writeFile(`${manifests}/.${name}`, JSON.stringify(manifest(name, ...rest)), { mode: 0o600 });
  await rename(`${manifests}/.${name}`, `${manifests}/${name}.yaml`);
}

async function untilIs(name: string, isSo: (status: Status) => boolean, what: string): Promise<Status> {
  return until(async () => {
    const { code, out } = await spawnlet('pod', 'get', name);
    const { status = {} } = code === 0 ? (JSON.parse(out) as { status?: Status }) : {};
    return isSo(status) ? status : undefined;
  }, `pod ${name} ${what}`);
}

const isReady = ({ conditions = [] }: Status) =>
  conditions.some(({ type, status }) => type === 'Ready' && status === 'True');

/** The unit of a pod's only container, without its suffix. */
async function unitOf(pod: string): Promise<string> {
  const units = await system(
    ...words('systemctl list-units --plain --no-legend'),
    `pod-default-${pod}-main-*.service`,
  );
  return units.split('.service', 1)[0] ?? '';
}

/** A limit of a container: of its unit's cgroup, or of the next one above that has any. */
async function limitOf(unit: string, file: string): Promise<string> {
  const group = await system('systemctl', 'show', '--property=ControlGroup', '--value', `${unit}.service`);
  for (let at = group; at !== '/'; at = dirname(at)) {
    const value = (await readFile(`/sys/fs/cgroup${at}/${file}`, 'utf8')).trim();
    if (!value.startsWith('max')) return value;
  }
  return 'max';
}

const byEngine = (engine: string): Check[] => [
  {
    title: `a pod by ${engine} is Ready, with its limits`,
    see: async () => {
      await apply(engine, engine, 'trap "exit 0" TERM; while :; do sleep 1; done', '64Mi');
      await untilIs(engine, isReady, 'is Ready');
      const unit = await unitOf(engine);
      const limits = [await limitOf(unit, 'memory.max'), await limitOf(unit, 'cpu.max')];
      assert.deepEqual(limits, [String(64 * megabytes), '50000 100000']);
      assert.match(await ofGroup(unit, 'cgroup.events'), /^populated 1$/m);
      return `${unit} ${limits.join(', ')}`;
    },
  },
  {
    title: `pod exec by ${engine} runs in the container and in its cgroup`,
    see: async () => {
      const inside = await done('pod', 'exec', engine, '--', 'cat', '/proc/1/comm', '/proc/self/cgroup');
      assert.match(inside, /^sh\n0::\/\n$/);
      assert.ok(await runsIn(await unitOf(engine), 'sh'));
      return inside;
    },
  },
  {
    title: `out of memory is told of a pod by ${engine}`,
    see: async () => {
      await apply(`${engine}-greedy`, engine, 'exec dd if=/dev/zero of=/dev/null bs=100M count=1', '32Mi');
      const { containerStatuses } = await untilIs(
        `${engine}-greedy`,
        ({ phase }) => phase === 'Failed',
        'failed',
      );
      const { exitCode, reason } = containerStatuses?.[0]?.state?.terminated ?? {};
      assert.deepEqual([exitCode, reason], [137, 'OOMKilled']);
      return `${exitCode} ${reason}`;
    },
  },
];

let before: readonly string[] = [];
/** Slices of classes stay, as the kubelet's do. */
const stays = /kubepods(?:-burstable|-besteffort)?\.slice$|spawnlet-kubelet|\/run\/spawnlet$/;

export const pods: readonly Check[] = [
  {
    title: 'the agent of pods is installed',
    see: async () => {
      before = await traces();
      await done('kubelet', 'install');
      return system('systemctl', 'is-active', 'spawnlet-kubelet');
    },
  },
  ...['crun', 'nspawn'].flatMap(byEngine),
  {
    title: 'pods whose manifests go leave nothing',
    see: async () => {
      await rm(manifests, { recursive: true });
      await mkdir(manifests);
      await until(
        async () => ((await done('pod', 'ls', '-o', 'json')) === '[]\n' ? true : undefined),
        'all go',
      );
      await done('kubelet', 'uninstall');
      const left = (await traces()).filter(line => !before.includes(line) && !stays.test(line));
      assert.deepEqual(left, []);
      return 'nothing';
    },
  },
];
