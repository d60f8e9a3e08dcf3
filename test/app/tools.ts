/** What tests of containers work with: the command itself, and images made of this machine's own programs. */
import { execFileSync, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { type ChildOptions, type ChildResult, ended, systemChildren } from '../../src/host/child.ts';
import { type ConfigFields, makeImage, type TestImage, writeLayout } from '../harness/images.ts';
import type { TarEntry } from '../harness/tar.ts';

const command = resolve(import.meta.dirname, '../../bin/spawnlet');

export interface Ran {
  readonly code: number;
  readonly out: string;
  readonly err: string;
  readonly bytes: Buffer;
}

const told = ({ code, stdout, stderr }: ChildResult): Ran => ({
  code,
  out: stdout.toString(),
  err: stderr,
  bytes: stdout,
});

/** Words of the command. */
export const words = (...argv: readonly string[]): string[] => [command, ...argv];

/** Runs spawnlet to its end. */
export async function spawnlet(argv: readonly string[], options: ChildOptions = {}): Promise<Ran> {
  const late = AbortSignal.timeout(60_000);
  try {
    return told(await systemChildren.capture(words(...argv), { signal: late, ...options }));
  } catch (cause) {
    if (!late.aborted) throw cause;
    throw new Error(`spawnlet ${argv.join(' ')} has not ended within a minute`, { cause });
  }
}

/** {@link spawnlet} for a command that must succeed: what it wrote to standard output. */
export async function done(argv: readonly string[], options?: ChildOptions): Promise<string> {
  const { code, out, err } = await spawnlet(argv, options);
  if (code !== 0) throw new Error(`spawnlet ${argv.join(' ')} ended with ${code}: ${err}${out}`);
  return out;
}

/** Runs a program of this machine that must succeed. */
export async function system(...argv: readonly string[]): Promise<string> {
  const { code, out, err } = told(await systemChildren.capture(argv));
  if (code !== 0) throw new Error(`${argv.join(' ')} ended with ${code}: ${err}`);
  return out;
}

/** A command that runs. */
export interface Running {
  /** What it writes to standard output next. */
  line(): Promise<string>;
  /** Its exit code. */
  readonly ended: Promise<number>;
}

/** Starts spawnlet; it is killed after a minute. */
export function running(argv: readonly string[]): Running {
  const [program = '', ...rest] = words(...argv);
  const child = spawn(program, rest, { stdio: ['ignore', 'pipe', 'inherit'], timeout: 60_000 });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const line = async () => {
    const { value, done: isOver } = await lines.next();
    if (isOver) throw new Error(`spawnlet ${argv.join(' ')} ended and said no more`);
    return value;
  };
  return { line, ended: ended(child) };
}

/**
 * Waits until `look` gives something, which is asked for again and again; the last error is told at the deadline.
 *
 * @param pause between two looks, in milliseconds: longer where a look costs much and others work meanwhile
 */
export async function eventually<T>(
  look: () => Promise<T | undefined>,
  what: string,
  pause = 20,
): Promise<T> {
  const deadline = performance.now() + 30_000;
  for (;;) {
    const found = await look();
    if (found !== undefined && found !== false) return found;
    if (performance.now() > deadline) throw new Error(`it did not come to pass that ${what}`);
    await new Promise(wake => {
      setTimeout(wake, pause);
    });
  }
}

const programs =
  'bash cat chmod chown cp dd echo env false head id kill ln ls mkdir mkfifo mknod mount od perl printenv printf pwd ' +
  'readlink rm seq setpriv sh sleep sort stat stty tail tee touch true uname wc';

/** Where a program lies, in /bin or in /usr/bin, is the suite's business: in the image all are in /usr. */
const collect = `set -e
perl=$(echo /usr/lib/*/perl-base)
programs=$(for name in ${programs}; do ls /usr/bin/$name /bin/$name 2>/dev/null | head -n1; done)
libraries=$(ldd $programs $(find $perl -name '*.so') | grep -o '/lib[^ :]*' | sort -u)
exec tar --create --file=- --dereference --hard-dereference --absolute-names \\
  --transform='s,^/usr/,/,' --transform='s,^/,usr/,' $programs $perl $libraries`;

let layer: Buffer | undefined;

/** A root file system of programs of this machine, with the libraries that they need. */
export function debianLayer(): Buffer {
  layer ??= execFileSync('sh', ['-c', collect], { maxBuffer: 1 << 28, stdio: ['ignore', 'pipe', 'pipe'] });
  return layer;
}

const skeleton: TarEntry[] = [
  ...['dev', 'etc', 'home', 'proc', 'root', 'run', 'sys', 'usr', 'var', 'var/log'].map(path => ({
    path,
    directory: true as const,
  })),
  { path: 'tmp', directory: true, mode: 0o1777 },
  { path: 'bin', symlink: 'usr/bin' },
  { path: 'lib', symlink: 'usr/lib' },
  { path: 'lib64', symlink: 'usr/lib64' },
  {
    path: 'etc/passwd',
    content:
      'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\napp:x:1000:1001::/home:/bin/sh\n',
  },
  {
    path: 'etc/group',
    content: 'root:x:0:\nnogroup:x:65534:\napp:x:1001:\nextra:x:2000:app\nmore:x:2001:app\n',
  },
];

/** An image with a shell, perl and the usual programs, with `entries` on top. */
export const debianImage = (config: ConfigFields = {}, entries: readonly TarEntry[] = []): TestImage =>
  makeImage({
    layers: [skeleton, debianLayer(), ...(entries.length > 0 ? [entries] : [])],
    config: {
      Cmd: ['sh'],
      Env: ['PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'],
      ...config,
    },
    compression: 'none',
  });

/** A static program of every Debian, which says its version without a file beside it. */
export const staticProgram = (): Buffer => readFileSync('/usr/sbin/ldconfig');

/** Images in the store of this machine, by the references to run them by; and a place for files of the test. */
export interface Fixture extends AsyncDisposable {
  readonly directory: string;
  ref(name: string): string;
}

/** Puts images into the store. Whatever containers are there at the end are removed with them. */
export async function useImages(images: Readonly<Record<string, TestImage>>): Promise<Fixture> {
  const directory = await mkdtemp(join(tmpdir(), 'containers-'));
  const layout = join(directory, 'images');
  await writeLayout(layout, images);
  const ref = (name: string) => `oci:${layout}:${name}`;
  await done(['image', 'pull', ...Object.keys(images).map(ref)]);
  return {
    directory,
    ref,
    async [Symbol.asyncDispose]() {
      await done(['rm', '--all', '--force']);
      await rm(directory, { recursive: true });
    },
  };
}

/** For perl: what a name stands for, as the C library's resolver finds it, addresses of IPv4 and IPv6. */
export const lookUp = `use Socket; my ($e, @all) = Socket::getaddrinfo(shift, "", { socktype => SOCK_STREAM });
print $e ? "$e\\n" : join("", map { (Socket::getnameinfo($_->{addr}, 1 | 2))[1] . "\\n" } @all);`;
