/** Pods of a lab whose agent is a unit: what a user of that host does, from outside. */
import { join } from 'node:path';
import type { Pod } from '../../src/pod/api/kubernetes.ts';
import { eventually } from '../app/tools.ts';
import { checkout, type TestLab } from '../harness/lab.ts';

const command = join(checkout, 'bin/spawnlet');

type Status = NonNullable<Pod['status']>;

export interface LabPods {
  /** Runs `spawnlet pod …` to its end, which must be a good one. */
  pod(...argv: readonly string[]): Promise<string>;
  apply(...documents: readonly object[]): Promise<void>;
  named(name: string): Promise<Pod | undefined>;
  /** Waits until a pod is as wanted, and gives it. */
  until(name: string, what: string, isSo: (status: Status) => boolean): Promise<Pod>;
  /** What a program says that runs in a pod's container, the first one if none is named. */
  inside(name: string, argv: readonly string[], container?: string): Promise<string>;
  /** What an HTTP server answers, head and body. */
  get(host: string | undefined, port: number, path: string): Promise<string>;
}

/** Has the agent run as a unit. */
export async function startPods(lab: TestLab, ...flags: readonly string[]): Promise<LabPods> {
  await lab.read([command, 'kubelet', 'install', ...flags]);
  const pod: LabPods['pod'] = (...argv) => lab.read([command, 'pod', ...argv]);
  const named: LabPods['named'] = async name => {
    const { code, stdout } = await lab.exec([command, 'pod', 'get', name]);
    return code === 0 ? (JSON.parse(stdout.toString()) as Pod) : undefined;
  };
  return {
    pod,
    named,
    async apply(...documents) {
      const input = documents.map(each => JSON.stringify(each)).join('\n---\n');
      await lab.read([command, 'pod', 'apply', '--wait=false', '-f', '-'], { input });
    },
    async until(name, what, isSo) {
      let last: Pod | undefined;
      const look = async () => {
        last = await named(name);
        return last?.status && isSo(last.status) ? last : undefined;
      };
      return await eventually(look, `pod ${name} ${what}`, 150).catch((cause: unknown) => {
        throw new Error(`pod ${name} is not so: ${what}; ${JSON.stringify(last?.status, undefined, 1)}`, {
          cause,
        });
      });
    },
    inside: (name, argv, container) =>
      pod('exec', ...(container === undefined ? [] : ['-c', container]), name, '--', ...argv),
    get: (host, port, path) =>
      lab.read([
        'timeout',
        '10',
        'bash',
        '-c',
        String.raw`exec 3<>"/dev/tcp/$0/$1"; printf 'GET %s HTTP/1.0\r\nHost: pod\r\n\r\n' "$2" >&3; cat <&3`,
        host ?? '',
        String(port),
        path,
      ]),
  };
}
