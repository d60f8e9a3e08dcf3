/** Rows of pods: from the manifest to Ready, many at once, their end; beside podman. No API server takes part. */
import { execFileSync } from 'node:child_process';
import { watch } from 'node:fs';
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { podsDirectory } from '../../src/names.ts';
import type { Kept } from '../../src/pod/worker/kept.ts';
import { busyboxImage } from '../harness/images.ts';
import { podman, podmanPull, podmanRunFlags, spawnlet, spawnletPull } from './commands.ts';
import { memoryOf } from './memory.ts';
import type { Setting } from './rows.ts';
import { interleave, type Subject, timeOf } from './sampling.ts';
import { own, type Row } from './table.ts';

const manifests = '/etc/spawnlet/manifests';

const run = (argv: readonly string[]) =>
  execFileSync(argv[0] ?? '', argv.slice(1), { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });

async function smallImage({ registry }: Setting): Promise<string> {
  const reference = await registry.push('bench/busybox:1', await busyboxImage());
  for (const argv of [spawnletPull(reference), podmanPull(reference)]) run(argv);
  return reference;
}

/** One container that ends on TERM. */
const podOf = (name: string, image: string, hostNetwork: boolean) =>
  JSON.stringify({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name },
    spec: {
      hostNetwork,
      terminationGracePeriodSeconds: 5,
      containers: [
        {
          name: 'main',
          image,
          imagePullPolicy: 'IfNotPresent',
          command: ['sh', '-c', 'trap "exit 0" TERM; sleep 1000 & wait'],
        },
      ],
    },
  });

interface Agent extends AsyncDisposable {
  readonly pid: number;
}

const agentUnit = 'bench-kubelet.service';

async function useAgent(): Promise<Agent> {
  await rm(manifests, { recursive: true, force: true });
  await mkdir(manifests, { recursive: true });
  // What it mounts has to be where systemd sees it; the benchmark has a mount namespace of its own.
  run(['systemd-run', '--quiet', '--collect', `--unit=${agentUnit}`, ...spawnlet('kubelet')]);
  return {
    pid: Number(run(['systemctl', 'show', '-P', 'MainPID', agentUnit])),
    async [Symbol.asyncDispose]() {
      await clear();
      run(['systemctl', 'stop', agentUnit]);
    },
  };
}

const apply = (name: string, text: string) => writeFile(join(manifests, `${name}.yaml`), text);

async function readKept(uid: string): Promise<Kept | undefined> {
  const text = await readFile(join(podsDirectory, uid, 'state.json'), 'utf8').catch(() => '{}');
  return JSON.parse(text) as Kept;
}

const isReady = (kept: Kept | undefined) =>
  kept?.status?.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True') === true;

/** Waits until so many pods are ready, by what the agent writes of them. */
async function untilReady(count: number): Promise<void> {
  await mkdir(podsDirectory, { recursive: true });
  const ready = new Set<string>();
  const watched = new Map<string, ReturnType<typeof watch>>();
  const done = Promise.withResolvers<void>();
  const look = async (uid: string) => {
    if (isReady(await readKept(uid))) ready.add(uid);
    if (ready.size >= count) done.resolve();
  };
  const find = async () => {
    for (const uid of await readdir(podsDirectory)) {
      if (watched.has(uid)) continue;
      watched.set(
        uid,
        watch(join(podsDirectory, uid), () => void look(uid)),
      );
      void look(uid);
    }
  };
  const watcher = watch(podsDirectory, () => void find());
  await find();
  await done.promise;
  watcher.close();
  for (const each of watched.values()) each.close();
}

/** Takes all pods away and waits until they are gone. */
async function clear(): Promise<void> {
  await mkdir(podsDirectory, { recursive: true });
  for (const name of await readdir(manifests)) await rm(join(manifests, name));
  const done = Promise.withResolvers<void>();
  const look = async () => (await readdir(podsDirectory)).length === 0 && done.resolve();
  const watcher = watch(podsDirectory, () => void look());
  await look();
  await done.promise;
  watcher.close();
}

const elapsed = async (work: () => Promise<unknown>) => {
  const begin = performance.now();
  await work();
  return performance.now() - begin;
};

function ours(image: string, hostNetwork: boolean): Subject {
  let count = 0;
  return {
    name: own,
    prepare: clear,
    measure: () =>
      elapsed(async () => {
        await apply('bench', podOf(`bench-${count++}`, image, hostNetwork));
        await untilReady(1);
      }),
  };
}

/**
 * What podman does of it where it has no cgroups: one container on the host's network, without a pod. kube play wants a tree of
 * cgroup v2 with controllers.
 */
function theirs(image: string): Subject {
  const sleeper = [image, 'sleep', '1000'];
  return {
    name: 'podman run -d',
    prepare: async () => {
      run(podman('rm', '--force', '--ignore', '--time=0', 'bench'));
    },
    measure: () => timeOf(podman('run', '--detach', '--name=bench', ...podmanRunFlags, ...sleeper)),
  };
}

async function podRow(setting: Setting, hostNetwork: boolean): Promise<Row> {
  const image = await smallImage(setting);
  await using _agent = await useAgent();
  const samples = await interleave([ours(image, hostNetwork), theirs(image)], setting.quick, 2);
  run(podman('rm', '--force', '--time=0', 'bench'));
  const mine = (samples.get(own) ?? []).toSorted((a, b) => a - b);
  return {
    work: `one pod${hostNetwork ? ' on the host’s network' : ', CNI'}: manifest written to Ready`,
    unit: 'ms',
    targets: [{ kind: 'at most', value: hostNetwork ? 150 : 200 }],
    samples,
    notes: [`p90: ${(mine[Math.floor(mine.length * 0.9)] ?? 0).toFixed(0)} ms`],
  };
}

const many = 50;
/** Seconds. */
const settles = 30;

/** Processor time of a process so far, in seconds. */
async function processorTime(pid: number): Promise<number> {
  const text = await readFile(`/proc/${pid}/stat`, 'latin1');
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

/** Per cent of one processor that a process takes in so many seconds. */
async function processorShare(pid: number, seconds: number): Promise<number> {
  const before = await processorTime(pid);
  await setTimeout(seconds * 1000);
  return (((await processorTime(pid)) - before) / seconds) * 100;
}

/** Megabytes. */
const residentMemory = async (pid: number) =>
  Number(/^VmRSS:\s+(\d+)/m.exec(await readFile(`/proc/${pid}/status`, 'latin1'))?.[1]) / 1024;

const ends = 40;

/** Containers of one pod are killed, one after the other: from there until the pod's status has it. */
async function exitRow(setting: Setting): Promise<Row> {
  const image = await smallImage(setting);
  await using _agent = await useAgent();
  const names = Array.from({ length: ends }, (_, index) => `c${index}`);
  const containers = names.map(name => ({
    name,
    image,
    imagePullPolicy: 'IfNotPresent',
    command: ['sleep', '1000'],
  }));
  const spec = { restartPolicy: 'Never', terminationGracePeriodSeconds: 1, containers };
  await apply('ends', JSON.stringify({ apiVersion: 'v1', kind: 'Pod', metadata: { name: 'ends' }, spec }));
  await untilReady(1);
  const [uid = ''] = await readdir(podsDirectory);
  const samples: number[] = [];
  for (const name of names) {
    const pid = (await readFile(`/run/spawnlet/app/pod-default-ends-${name}-${uid}/pid`, 'utf8')).trim();
    const done = Promise.withResolvers<void>();
    const look = async () => {
      const all = (await readKept(uid))?.status?.containerStatuses ?? [];
      if (all.find(each => each.name === name)?.state?.terminated?.exitCode === 137) done.resolve();
    };
    const watcher = watch(join(podsDirectory, uid), () => void look());
    samples.push(
      await elapsed(async () => {
        process.kill(Number(pid), 'SIGKILL');
        await done.promise;
      }),
    );
    watcher.close();
  }
  const sorted = samples.toSorted((a, b) => a - b);
  return {
    work: 'a container is killed until the status of its pod has it',
    unit: 'ms',
    targets: [{ kind: 'at most', value: 50 }],
    samples: new Map([[own, samples]]),
    notes: [
      `p99: ${(sorted[Math.floor(sorted.length * 0.99)] ?? 0).toFixed(0)} ms, of which 200 are allowed`,
    ],
  };
}

async function manyRow(setting: Setting): Promise<Row> {
  const image = await smallImage(setting);
  await using agent = await useAgent();
  const { pid } = agent;
  const starts: number[] = [];
  const notes: string[] = [];
  const rounds = Math.max(1, Math.ceil(setting.slow / 3));
  for (let round = 0; round < rounds; round++) {
    await clear();
    const texts = Array.from({ length: many }, (_, index) => podOf(`bench-${round}-${index}`, image, false));
    starts.push(
      (await elapsed(async () => {
        await Promise.all(texts.map((text, index) => apply(`bench-${index}`, text)));
        await untilReady(many);
      })) / 1000,
    );
    const rss = await residentMemory(pid);
    // What was begun for the last pod ends meanwhile, and the collector of garbage takes back what the start has left.
    const settling = await processorShare(pid, settles);
    const idle = await processorShare(pid, 10);
    const settled = await residentMemory(pid);
    const conmons = run(['pgrep', '-x', 'conmon']).trim().split('\n').map(Number);
    const memory = await Promise.all(conmons.map(memoryOf));
    const each = memory.reduce((sum, { pss }) => sum + pss, 0) / 1e6 / many;
    const end = await elapsed(clear);
    notes.push(
      `agent with ${many} pods ${rss.toFixed(0)} MB RSS at the last Ready and ${settled.toFixed(0)} MB ${settles} s later; ${settling.toFixed(1)} % of a core until then, idle ${idle.toFixed(1)} %; ${each.toFixed(2)} MB PSS for each container; ${many} deleted at once: ${(end / 1000).toFixed(2)} s`,
    );
  }
  return {
    work: `${many} pods at once until the last is Ready`,
    unit: 's',
    targets: [{ kind: 'at most', value: Math.round((many / 6) * 10) / 10 }],
    samples: new Map([[own, starts]]),
    notes,
  };
}

export const podRows: Readonly<Record<string, (setting: Setting) => Promise<Row>>> = {
  pod: setting => podRow(setting, false),
  hostpod: setting => podRow(setting, true),
  pods: manyRow,
  podexit: exitRow,
};
