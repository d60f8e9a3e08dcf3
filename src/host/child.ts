import type { ChildProcess, SpawnOptions } from 'node:child_process';
import { constants } from 'node:os';
import { isErrno, SpawnletError } from './error.ts';

export interface ChildOptions {
  /** Bytes for its standard input; without it, standard input is /dev/null. */
  readonly input?: string | Uint8Array;
  readonly env?: NodeJS.ProcessEnv;
  readonly cwd?: string;
  /** Ends the child with SIGTERM and rejects with the signal's reason. */
  readonly signal?: AbortSignal;
}

export interface ChildResult {
  /** Exit code, or 128 + n for death by signal n, as a shell has it. */
  readonly code: number;
  readonly stdout: Buffer;
  readonly stderr: string;
}

/** Runs programs of the system. */
export interface Children {
  /** Runs to its end and gives all of its output; a program that is not there is an error, an exit code is not. */
  capture(argv: readonly string[], options?: ChildOptions): Promise<ChildResult>;
  /** Starts a child whose streams the caller handles. Whoever starts it waits for it. */
  spawn(argv: readonly string[], options: SpawnOptions): ChildProcess;
}

/** Loaded with the first child: most commands need none, and it takes a tenth of their time. */
const spawn = (...words: Parameters<typeof import('node:child_process').spawn>) =>
  process.getBuiltinModule('node:child_process').spawn(...words);

/** The exit code as a shell tells it. */
export function shellCode(code: number | null, signal: NodeJS.Signals | null): number {
  if (code !== null) return code;
  return 128 + (signal ? constants.signals[signal] : 0);
}

/** Resolves with {@link shellCode} once the child has ended and its streams are closed. */
export function ended(child: ChildProcess): Promise<number> {
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => resolve(shellCode(code, signal)));
  });
}

export const systemChildren: Children = {
  async capture(argv, options = {}) {
    const [program = '', ...args] = argv;
    const { buffer } = await import('node:stream/consumers');
    const child = spawn(program, args, {
      stdio: [options.input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
      ...(options.env && { env: options.env }),
      ...(options.cwd && { cwd: options.cwd }),
      ...(options.signal && { signal: options.signal }),
    });
    const end = ended(child);
    // A child that ends before it has read its input is told by its exit code, not by EPIPE here.
    child.stdin?.on('error', () => undefined);
    child.stdin?.end(options.input);
    try {
      const [code, stdout, stderr] = await Promise.all([
        end,
        buffer(child.stdout as NodeJS.ReadableStream),
        buffer(child.stderr as NodeJS.ReadableStream),
      ]);
      options.signal?.throwIfAborted();
      return { code, stdout, stderr: stderr.toString() };
    } catch (error) {
      options.signal?.throwIfAborted();
      if (isErrno(error, 'ENOENT')) throw programMissing(program, error);
      throw error;
    }
  },
  spawn: (argv, options) => spawn(argv[0] ?? '', argv.slice(1), options),
};

/** Packages that hold a program, by Debian's names. */
const packages: Record<string, string> = {
  crun: 'crun',
  conmon: 'conmon',
  'systemd-nspawn': 'systemd-container',
  machinectl: 'systemd-container',
  mmdebstrap: 'mmdebstrap',
  ip: 'iproute2',
  nsenter: 'util-linux',
  nft: 'nftables',
  dnsmasq: 'dnsmasq-base',
  zstd: 'zstd',
  xz: 'xz-utils',
};

export function programMissing(program: string, cause?: unknown): SpawnletError {
  const name = program.slice(program.lastIndexOf('/') + 1);
  const owner = packages[name] ?? name;
  return new SpawnletError('ERR_PROGRAM_MISSING', `${name} is not installed`, {
    hint: `apt-get install ${owner}`,
    cause,
  });
}

/** Runs to its end; an exit code other than 0 is an error that carries what the program said. */
export async function check(
  children: Children,
  argv: readonly string[],
  options?: ChildOptions,
): Promise<Buffer> {
  const result = await children.capture(argv, options);
  if (result.code === 0) return result.stdout;
  throw new SpawnletError(
    'ERR_PROGRAM_FAILED',
    `${argv.join(' ')} ended with ${result.code}: ${result.stderr.trim()}`,
  );
}

/** Children of a test: answers by the first word, and a list of what was asked. */
export class FakeChildren implements Children {
  readonly calls: string[][] = [];
  readonly #answers: Record<string, (argv: readonly string[]) => Partial<ChildResult>>;

  constructor(answers: Record<string, (argv: readonly string[]) => Partial<ChildResult>> = {}) {
    this.#answers = answers;
  }

  async capture(argv: readonly string[]): Promise<ChildResult> {
    this.calls.push([...argv]);
    const answer = this.#answers[argv[0] ?? ''];
    if (!answer) throw programMissing(argv[0] ?? '');
    return { code: 0, stdout: Buffer.alloc(0), stderr: '', ...answer(argv) };
  }

  spawn(argv: readonly string[]): ChildProcess {
    throw new Error(`a fake cannot stream: ${argv.join(' ')}`);
  }
}
