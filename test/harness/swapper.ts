/** A container that does harm: in a thread of its own, a directory becomes a link and is itself again, as fast as it can. */
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';

const code = `const { renameSync, symlinkSync, unlinkSync } = require('node:fs');
const { parentPort, workerData: { path, target } } = require('node:worker_threads');
const attempt = change => { try { change(); } catch {} };
parentPort.postMessage('ready');
for (;;) {
  attempt(() => renameSync(path, path + '.real'));
  attempt(() => symlinkSync(target, path));
  attempt(() => unlinkSync(path));
  attempt(() => renameSync(path + '.real', path));
}`;

/** Swaps what is at a path with a link to the target until it is disposed of. */
export async function swap(path: string, target: string): Promise<AsyncDisposable> {
  const worker = new Worker(code, { eval: true, workerData: { path, target } });
  await once(worker, 'message');
  return {
    [Symbol.asyncDispose]: async () => {
      await worker.terminate();
    },
  };
}
