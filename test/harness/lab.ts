/** Labs for tests: each is fresh, booted in a second, and gone when its test or its process is. */
import type { ChildProcess, SpawnOptions } from 'node:child_process';
import { rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { buffer } from 'node:stream/consumers';
import type { TestContext } from 'node:test';
import { makeApplier } from '../../src/host/apply.ts';
import { type ChildResult, ended } from '../../src/host/child.ts';
import { realHost } from '../../src/host/host.ts';
import { until } from '../../src/host/presence.ts';
import { enterArgv } from '../../src/lab/enter.ts';
import { down, type LabApplier, sweep, up } from '../../src/lab/lab.ts';
import { inNetwork } from '../../src/lab/network.ts';
import { placesOf } from '../../src/lab/record.ts';
import { type LabOptions, parseLabSpec } from '../../src/lab/spec.ts';
import { allLabExecutors } from '../../src/lab/step.ts';
import { labDirectory, lockDirectory } from '../../src/names.ts';

/** The checkout; labs see it at the same path, read-only. */
export const checkout = resolve(import.meta.dirname, '../..');

export interface ExecOptions {
  readonly input?: string | Uint8Array;
  readonly env?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
}

export interface TestLab extends AsyncDisposable {
  readonly name: string;
  readonly address: string;
  readonly network: string;
  /** Runs a command in the lab to its end. */
  exec(argv: readonly string[], options?: ExecOptions): Promise<ChildResult>;
  /** {@link exec} for a command that must succeed: its output as text. */
  read(argv: readonly string[], options?: ExecOptions): Promise<string>;
  /** Starts a command in the lab; the test handles its streams and waits for it. */
  spawn(argv: readonly string[], options: SpawnOptions, env?: Record<string, string>): Promise<ChildProcess>;
  /** Starts a program of the host in the lab's network, where it can listen on the gateway's address, 10.77.0.1. */
  outside(argv: readonly string[], options: SpawnOptions): ChildProcess;
  /** Has it boot again, and waits until it has, and everything of the boot is done. */
  reboot(): Promise<void>;
  /** What the journal has of a unit, all runs, as text. */
  journal(unit: string): Promise<string>;
  /** What to know of the lab when something has failed: units that did, and what the journal said last. */
  lastWords(): Promise<string>;
  /** For an afterEach hook: if the test has failed, says in which lab, and what the journal said last. */
  explain(test: unknown): Promise<void>;
}

export interface TestLabOptions extends Omit<LabOptions, 'name' | 'network'> {
  /** The test that the lab is for: if it fails, its output ends with the lab's last journal lines. */
  readonly test?: TestContext;
}

export const host = realHost(lockDirectory, 'tests');
export const applier: LabApplier & ReturnType<typeof makeApplier> = makeApplier(
  allLabExecutors(host),
  host.files,
  host.locks,
  join(labDirectory, 'journal'),
);

let swept: Promise<unknown> | undefined;

/** Takes back what killed test runs have left. */
export function sweepOnce(): Promise<unknown> {
  swept ??= (async () => {
    const signal = AbortSignal.timeout(60_000);
    await applier.recover(signal);
    await sweep(host, applier, signal);
  })();
  return swept;
}

let count = 0;

/** Boots a lab. Labs of one test process share a network; nothing else does. */
export async function useLab(options: TestLabOptions = {}): Promise<TestLab> {
  await sweepOnce();
  const { test, ...rest } = options;
  const run = `t${process.pid}`;
  const name = `${run}-${++count}`;
  const spec = parseLabSpec({
    ...rest,
    binds: [`${checkout}:${checkout}:ro`, ...(options.binds ?? [])],
    name,
    network: run,
  });
  const { address } = await up(host, applier, spec, host.locks.self, AbortSignal.timeout(600_000));

  const spawn: TestLab['spawn'] = async (argv, options, env) => {
    return host.children.spawn(await enterArgv(host, name, argv, env ? { env } : {}), options);
  };
  const exec: TestLab['exec'] = async (argv, { input, env, signal } = {}) => {
    const child = await spawn(
      argv,
      { stdio: [input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'], signal },
      env,
    );
    const end = ended(child);
    // A command that ends before it has read its input is told by its exit code.
    child.stdin?.on('error', () => undefined);
    child.stdin?.end(input);
    const [code, stdout, stderr] = await Promise.all([
      end,
      buffer(child.stdout as NodeJS.ReadableStream),
      buffer(child.stderr as NodeJS.ReadableStream),
    ]);
    return { code, stdout, stderr: stderr.toString() };
  };
  const read: TestLab['read'] = async (argv, options) => {
    const { code, stdout, stderr } = await exec(argv, options);
    if (code !== 0) throw new Error(`in lab ${name}: ${argv.join(' ')} ended with ${code}: ${stderr.trim()}`);
    return stdout.toString();
  };

  let last: string | undefined;
  const lastWords = async () => {
    const failed = await exec(['systemctl', '--failed', '--plain', '--no-legend']);
    // With a time it would give the first lines after it. All that a lab's journal has is the lab's.
    const lines = await exec([
      'journalctl',
      '--no-pager',
      '--namespace=*',
      '--output=short-precise',
      '--lines=120',
    ]);
    return `lab ${name} (${spec.suite}); failed units: ${failed.stdout.toString().trim() || 'none'}\n${lines.stdout.toString()}`;
  };
  const tell = async (context: TestContext) => {
    // The types of Node do not have it yet.
    if (!(context as TestContext & { passed: boolean }).passed)
      context.diagnostic(last ?? (await lastWords()));
  };
  test?.after(() => tell(test));

  return {
    name,
    address,
    network: run,
    exec,
    read,
    spawn,
    async reboot() {
      const { ready } = placesOf(name);
      await rm(ready);
      await exec(['systemctl', 'reboot']);
      await until('there', ready, AbortSignal.timeout(90_000));
    },
    outside: (argv, options) => host.children.spawn(inNetwork(run, argv), options),
    journal: unit =>
      read(['journalctl', '--no-pager', '--namespace=*', '--output=short-precise', `--unit=${unit}`]),
    lastWords,
    explain: context => tell(context as TestContext),
    async [Symbol.asyncDispose]() {
      // The test's outcome is known only after its resources are gone.
      if (test) last = await lastWords().catch(error => `lab ${name}: ${error}`);
      await down(host, applier, name, AbortSignal.timeout(60_000));
    },
  };
}
