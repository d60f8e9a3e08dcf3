import type { LayerProgress } from '../image/pull.ts';
import type { BuildProgress } from '../image/tree/progress.ts';
import type { Context } from './context.ts';
import { bytes, printable } from './output.ts';

const barWidth = 30;

/** `[=====>     ] 12.3 MB/80 MB`. */
export function bar(done: number, total: number): string {
  const filled = total === 0 ? barWidth : Math.min(barWidth, Math.floor((done / total) * barWidth));
  return `[${'='.repeat(filled)}${' '.repeat(barWidth - filled)}] ${bytes(done)}/${bytes(total)}`;
}

const states = { waiting: 'waiting', pulling: '', present: 'already there', done: 'done' } as const;

const short = (digest: string) => digest.slice('sha256:'.length, 'sha256:'.length + 12);

function lineOf(event: LayerProgress): string {
  return `${short(event.layer)}  ${event.state === 'pulling' ? bar(event.bytes, event.total) : states[event.state]}`;
}

/** Shows layers as they come, on standard error: a bar for each on a terminal, a line for each elsewhere. */
export function showProgress(context: Context): Disposable {
  const rows = new Map<string, string>();
  const terminal = process.stderr.isTTY;
  let drawn = 0;
  let last = 0;
  const draw = () => {
    // The cursor does not go up beyond the screen.
    const shown = [...rows.values()].slice(-Math.max(1, (process.stderr.rows || 24) - 1));
    const up = drawn > 0 ? `\u001b[${drawn}A` : '';
    process.stderr.write(`${up}${shown.map(row => `\u001b[2K${row}\n`).join('')}`);
    drawn = shown.length;
    last = context.host.clock.now();
  };
  context.listeners.progress = event => {
    const before = rows.get(event.layer);
    rows.set(event.layer, lineOf(event));
    if (!terminal) {
      if (event.state === 'done') process.stderr.write(`${short(event.layer)}  ${bytes(event.total)}\n`);
    } else if (before === undefined || event.state !== 'pulling' || context.host.clock.now() - last > 100)
      draw();
  };
  return {
    [Symbol.dispose]() {
      delete context.listeners.progress;
    },
  };
}

/**
 * Shows what the build of a base does, on standard error: a line for each step; on a terminal, below the last of them, what its program
 * says, in one line that is written over. Images that it begins with are shown as they come.
 */
export function showBuild(context: Context): Disposable {
  const layers = showProgress(context);
  const terminal = process.stderr.isTTY;
  let isBelow = false;
  const clear = () => {
    if (isBelow) process.stderr.write('\r\u001b[K');
    isBelow = false;
  };
  context.listeners.building = (event: BuildProgress) => {
    if ('step' in event) {
      clear();
      process.stderr.write(`${printable(event.step)}\n`);
    } else if (terminal) {
      clear();
      process.stderr.write(`  ${printable(event.says)}`.slice(0, (process.stderr.columns || 80) - 1));
      isBelow = true;
    }
  };
  return {
    [Symbol.dispose]() {
      clear();
      delete context.listeners.building;
      layers[Symbol.dispose]();
    },
  };
}
