/** Memory of processes as the kernel counts it. */
import { spawn } from 'node:child_process';
import { readdir, readFile, readlink } from 'node:fs/promises';
import { text } from 'node:stream/consumers';
import { setTimeout } from 'node:timers/promises';
import { ended } from '../../src/host/child.ts';

/** In bytes. */
export interface Memory {
  /** Proportional set size. */
  readonly pss: number;
  /** The part of it that is pages of the process's own program file: clean, and shared by all who run it. */
  readonly program: number;
}

const none: Memory = { pss: 0, program: 0 };

async function readIfThere(path: string): Promise<string> {
  return readFile(path, 'utf8').catch(() => '');
}

/** Nothing for a process that has ended. */
export async function memoryOf(pid: number): Promise<Memory> {
  const program = await readlink(`/proc/${pid}/exe`).catch(() => undefined);
  if (program === undefined) return none;
  let own = false;
  let total = 0;
  let ofProgram = 0;
  for (const line of (await readIfThere(`/proc/${pid}/smaps`)).split('\n')) {
    const mapping = /^[\da-f]+-[\da-f]+ \S+ \S+ \S+ \d+ *(.*)$/.exec(line);
    if (mapping) own = mapping[1] === program;
    const pss = /^Pss: +(\d+) kB$/.exec(line);
    if (!pss) continue;
    total += Number(pss[1]) * 1024;
    // Pages that were written to are the process's own.
    if (own) ofProgram += Number(pss[1]) * 1024;
    const dirty = own && /^Pss_Dirty: +(\d+) kB$/.exec(line);
    if (dirty) ofProgram -= Number(dirty[1]) * 1024;
  }
  return { pss: total, program: ofProgram };
}

async function childrenOf(pid: number): Promise<number[]> {
  const tasks = await readdir(`/proc/${pid}/task`).catch(() => []);
  const lists = await Promise.all(tasks.map(task => readIfThere(`/proc/${pid}/task/${task}/children`)));
  return lists.flatMap(list => list.split(' ').filter(Boolean).map(Number));
}

/** A process and all below it. */
export async function treeOf(pid: number): Promise<number[]> {
  const pids = [pid];
  for (const each of pids) pids.push(...(await childrenOf(each)));
  return pids;
}

/** Processes of a unit, by what the kernel says of each. */
export async function processesOf(unit: string): Promise<number[]> {
  const pids = (await readdir('/proc')).filter(name => /^\d+$/.test(name)).map(Number);
  const inside = await Promise.all(
    pids.map(async pid => (await readIfThere(`/proc/${pid}/cgroup`)).includes(`/${unit}`)),
  );
  return pids.filter((_, index) => inside[index]);
}

/** Whether any process has one of these names. */
export async function isRunning(names: readonly string[]): Promise<boolean> {
  const pids = (await readdir('/proc')).filter(name => /^\d+$/.test(name));
  const found = await Promise.all(pids.map(pid => readIfThere(`/proc/${pid}/comm`)));
  return found.some(name => names.includes(name.trim()));
}

export interface Peak {
  /** The largest sum that was seen of a command and all its children, without program files. Bytes. */
  readonly all: number;
  /** The command's own part of it at the largest that this was. */
  readonly own: number;
}

/** Runs a command to its end and looks at its memory all the while. */
export async function peakOf(argv: readonly string[], interval = 40): Promise<Peak> {
  const child = spawn(argv[0] ?? '', argv.slice(1), { stdio: ['ignore', 'ignore', 'pipe'] });
  const end = ended(child);
  const said = text(child.stderr);
  let all = 0;
  let own = 0;
  while (child.pid !== undefined && child.exitCode === null && child.signalCode === null) {
    const memories = await Promise.all((await treeOf(child.pid)).map(memoryOf));
    const sizes = memories.map(({ pss, program }) => pss - program);
    all = Math.max(
      all,
      sizes.reduce((sum, size) => sum + size, 0),
    );
    own = Math.max(own, sizes[0] ?? 0);
    await setTimeout(interval);
  }
  const code = await end;
  if (code !== 0) throw new Error(`${argv.join(' ')} ended with ${code}: ${(await said).trim()}`);
  return { all, own };
}
