/**
 * `make vm`: boots Debian with systemd as PID 1 and cgroup v2 in QEMU, by software emulation, and runs the smoke in it.
 * The smoke's lines are printed as they come; they and the console's are kept in `.cache/vm`.
 */
import { createWriteStream } from 'node:fs';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { ended, systemChildren } from '../../src/host/child.ts';
import { cache, productDisk, type System, systemDisk } from './disk.ts';

/** Of the emulation, all together. */
const minutes = 18;

const stop = new AbortController();
for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(name, () => stop.abort(name));

/** A disk in the order of the words. What is written to it is dropped when QEMU ends. */
const drive = (file: string) => `if=virtio,format=raw,snapshot=on,file=${file}`;

function qemuArgv(system: System, product: string, log: string): string[] {
  return [
    ...'setpriv --pdeathsig KILL -- qemu-system-x86_64 -no-user-config -nodefaults -display none -device virtio-rng-pci'.split(
      ' ',
    ),
    ...'-accel tcg,thread=multi -cpu max -smp 2 -m 2560'.split(' '),
    '-drive',
    drive(system.disk),
    '-drive',
    drive(product),
    '-kernel',
    system.kernel,
    '-initrd',
    system.initrd,
    '-append',
    system.commandLine,
    '-serial',
    `file:${log}`,
    '-serial',
    'stdio',
  ];
}

/** Runs the machine until it powers itself off. Gives the smoke's closing line, if it came to that. */
async function runMachine(argv: readonly string[], signal: AbortSignal): Promise<string | undefined> {
  const child = systemChildren.spawn(argv, { stdio: ['ignore', 'pipe', 'inherit'], signal });
  const end = ended(child).catch(error => {
    signal.throwIfAborted();
    throw error;
  });
  const log = createWriteStream(join(cache, 'results.log'));
  let closing: string | undefined;
  for await (const line of createInterface({ input: child.stdout as Readable })) {
    process.stdout.write(`${line}\n`);
    log.write(`${line}\n`);
    if (/^# pass \d+ fail \d+$/.test(line)) closing = line;
  }
  log.end();
  const code = await end;
  if (code !== 0) throw new Error(`QEMU ended with ${code}`);
  return closing;
}

if (process.getuid?.() !== 0 || process.arch !== 'x64') {
  process.stderr.write('vm: it builds a Debian tree for x86-64: run it as root on such a machine\n');
  process.exit(1);
}
await mkdir(cache, { recursive: true });
const directory = await mkdtemp(join(cache, 'run-'));
const log = join(cache, 'console.log');
try {
  const system = await systemDisk(stop.signal);
  const product = await productDisk(directory, stop.signal);
  const begin = performance.now();
  const deadline = AbortSignal.any([stop.signal, AbortSignal.timeout(minutes * 60_000)]);
  const closing = await runMachine(qemuArgv(system, product, log), deadline);
  const seconds = ((performance.now() - begin) / 1000).toFixed(0);
  process.stdout.write(`# powered off after ${seconds} s; console: ${log}\n`);
  if (closing === undefined) throw new Error('the machine has ended before the smoke had');
  if (!closing.endsWith(' fail 0')) process.exitCode = 1;
} catch (error) {
  process.exitCode = stop.signal.aborted ? 130 : 1;
  const text = stop.signal.aborted ? 'interrupted' : error instanceof Error ? error.message : String(error);
  process.stderr.write(`vm: ${text}\nvm: the machine's console is in ${log}\n`);
} finally {
  await rm(directory, { recursive: true, force: true });
}
