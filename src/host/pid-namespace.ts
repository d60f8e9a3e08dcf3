import type { Files } from './files.ts';

/**
 * The host's number of the process that is 1 in a PID namespace below: the first such descendant of `pid`, nearest
 * first. Undefined if there is none (yet).
 */
export async function initBelow(files: Files, pid: number): Promise<number | undefined> {
  const queue = [pid];
  for (const each of queue) {
    const status = await files.read(`/proc/${each}/status`);
    if (status && /^NSpid:.*\s\d+\s+1$/m.test(status)) return each;
    const children = (await files.read(`/proc/${each}/task/${each}/children`)) ?? '';
    queue.push(...children.split(' ').filter(Boolean).map(Number));
  }
  return undefined;
}
