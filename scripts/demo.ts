/**
 * `make demo`: boots a lab, starts a registry beside it with nginx in it, runs that as a unit, and shows what there is to
 * see. All that it made is gone when it ends, however it ends.
 */
import { rm, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { ended, systemChildren } from '../src/host/child.ts';
import { systemClock } from '../src/host/clock.ts';
import { gateway, inNetwork } from '../src/lab/network.ts';
import { layersDirectory } from '../src/names.ts';
import { nginxImage } from '../test/harness/nginx.ts';
import { startRegistry } from '../test/harness/registry.ts';

const checkout = resolve(import.meta.dirname, '..');
const spawnlet = join(checkout, 'bin/spawnlet');
const cache = join(checkout, '.cache/images');
/** Where the registry keeps its images, until the demo ends. */
const storage = join(checkout, '.cache/demo');
const lab = 'spawnlet-demo';
const columns = 80;

const stop = new AbortController();
for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(name, () => stop.abort(name));

/** A program's output; one that fails ends the demo with its words. What it says as it works can be passed on. */
async function output(argv: readonly string[], errors: 'keep' | 'pass on' = 'keep'): Promise<string> {
  stop.signal.throwIfAborted();
  const stdio = ['ignore', 'pipe', errors === 'keep' ? 'pipe' : 'inherit'] as const;
  const child = systemChildren.spawn(argv, { stdio: [...stdio] });
  const [code, out, err] = await Promise.all([
    ended(child),
    text(child.stdout ?? Readable.from([])),
    text(child.stderr ?? Readable.from([])),
  ]);
  stop.signal.throwIfAborted();
  if (code !== 0) throw new Error(`${argv.join(' ')} ended with ${code}:\n${err}${out}`);
  return out;
}

const print = (line = ''): unknown => process.stdout.write(`${line}\n`);

/** Lines as they fit beside the margin; what is left out is told. */
function show(shown: string, most: number): void {
  const lines = shown.trimEnd().split('\n');
  const width = columns - 4;
  for (const line of lines.slice(0, most))
    print(`    ${line.length > width ? `${line.slice(0, width - 1)}…` : line}`.trimEnd());
  if (lines.length > most) print(`    … (${lines.length - most} more lines)`);
}

let count = 0;

/** What comes next, in one line. */
function say(what: string): void {
  print();
  print(`${++count}. ${what}`);
}

/** Shows a command as it would be typed on a host, and runs it in the lab. */
async function inLab(line: string): Promise<string> {
  print(`    # ${line}`);
  const path = `${checkout}/bin:/usr/sbin:/usr/bin:/sbin:/bin`;
  const env = ['-e', `PATH=${path}`, '-e', 'COLUMNS=76', '-e', 'SYSTEMD_COLORS=0', '-e', 'SYSTEMD_PAGER='];
  return output([spawnlet, 'lab', 'exec', ...env, lab, '--', 'sh', '-c', line]);
}

/** A server listens a moment after its unit has started. */
async function whenReady(ask: () => Promise<string>): Promise<string> {
  const deadline = performance.now() + 10_000;
  for (;;) {
    try {
      return await ask();
    } catch (error) {
      if (stop.signal.aborted || performance.now() > deadline) throw error;
      await systemClock.sleep(50, stop.signal);
    }
  }
}

/** Takes the lab, its network and the registry’s images away, if they are there. Ctrl-C does not reach it. */
async function clean(): Promise<void> {
  const child = systemChildren.spawn([spawnlet, 'lab', 'down', lab], { stdio: 'ignore', detached: true });
  await ended(child);
  await rm(storage, { recursive: true, force: true });
}

async function isThere(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

/** A bundle is some hundred lines of JSON; these tell what it is. */
function bundleInShort(config: string): string {
  interface Bundle {
    process: { args: string[]; user: object; capabilities: { bounding: string[] } };
    root: object;
    mounts: { destination: string }[];
    linux: { namespaces: { type: string }[]; seccomp: { syscalls: object[] }; maskedPaths: string[] };
  }
  const { process: program, root, mounts, linux } = JSON.parse(config) as Bundle;
  const rows = {
    'process.args': program.args,
    'process.user': program.user,
    'process.capabilities': `${program.capabilities.bounding.length}, Docker’s`,
    root,
    mounts: mounts.map(({ destination }) => destination.split('/').at(-1)),
    'linux.namespaces': linux.namespaces.map(({ type }) => type),
    'linux.seccomp': `${linux.seccomp.syscalls.length} rules, Docker’s`,
    'linux.maskedPaths': `${linux.maskedPaths.length}`,
  };
  const width = Math.max(...Object.keys(rows).map(key => key.length));
  const plain = (value: unknown) => (typeof value === 'string' ? value : JSON.stringify(value));
  return Object.entries(rows)
    .map(([key, value]) => `${key.padEnd(width)}  ${plain(value)}`)
    .join('\n');
}

/** A unit's settings; its comment and its section about spawnlet are left out. */
const settingsOf = (unit: string) =>
  unit
    .replace(/^#.*\n/gm, '')
    .replace(/\n\[Install\][^]*/, '\n')
    .trim();

async function demo(): Promise<void> {
  print('spawnlet: an OCI image as a systemd unit');

  say('A Debian host with systemd as PID 1, in namespaces and cgroups of its own.');
  print(`    # spawnlet lab up ${lab}`);
  const lend = ['--bind', `${checkout}:${checkout}:ro`];
  const up = [spawnlet, 'lab', 'up', lab, '--network', lab, ...lend];
  show(await output(up, 'pass on'), 1);

  say('A registry in the lab’s network: Debian’s docker-registry, with nginx in it.');
  if (!(await isThere(cache))) print('    Building the image from Debian’s packages. This takes 20 s, once.');
  const image = await nginxImage(cache, { page: '<h1>Served by nginx, run by systemd</h1>\n' });
  {
    await using loopback = await startRegistry({ storage });
    await loopback.push('nginx:demo', image);
  }
  const address = `${gateway}:5000`;
  await using registry = await startRegistry({ storage, address, prefix: inNetwork(lab, []) });
  const reference = `${registry.host}/nginx:demo`;
  show(`${reference} can be pulled`, 1);

  say('Pull: each layer is verified, and unpacked once for all containers.');
  show(await inLab(`spawnlet image pull --tls-verify=false ${reference}`), 4);
  show(await inLab(`ls ${layersDirectory}`), 4);

  say('Run: podman’s flags. What starts is a unit of systemd.');
  show(await inLab(`spawnlet run -d --name web -p 80:80 --memory 256m ${reference}`), 2);

  say('Fetch a page from it, from outside of the lab.');
  const labs = JSON.parse(await output([spawnlet, 'lab', 'status', lab, '-o', 'json'])) as {
    address: string;
  }[];
  const fetching = ['busybox', 'wget', '-q', '-O', '-', `http://${labs[0]?.address}/`];
  print(`    # ${fetching.join(' ')}`);
  show(await whenReady(() => output(inNetwork(lab, fetching))), 2);

  say('systemctl knows it, with its processes, its memory and its log.');
  show(await inLab('systemctl status web --no-pager --lines 2'), 24);

  say('The unit is a file to read. `systemctl edit web` changes it; no daemon runs it.');
  show(settingsOf(await inLab('systemctl cat web')), 28);

  say('The bundle beside it is OCI’s config.json; crun runs it. In short:');
  show(bundleInShort(await inLab('cat /var/lib/spawnlet/app/web/config.json')), 12);

  say('The log is the journal, in a namespace of its own.');
  show(await inLab('spawnlet logs --stream stdout web'), 3);
  show(await inLab('journalctl --namespace=spawnlet -u web -n 1 -o short-iso --no-pager'), 3);

  say('Remove it: the unit, the bundle and what it wrote go. The image stays.');
  show(await inLab('spawnlet rm -f web'), 1);
  show(await inLab('spawnlet ps -a'), 2);
}

const next = `
To try next (the lab of this demo is gone):
    bin/spawnlet doctor           what this machine can and cannot do
    bin/spawnlet lab up           a lab to keep, as long as you like
    bin/spawnlet lab shell        a terminal in it
    README.md                     a first container on your own host
    make test                     all of this, tested`;

if (process.getuid?.() !== 0) {
  process.stderr.write('demo: it makes namespaces and cgroups: run it as root\n');
  process.exit(1);
}
await clean();
try {
  await demo();
  print(next);
} catch (error) {
  process.exitCode = stop.signal.aborted ? 130 : 1;
  if (!stop.signal.aborted)
    process.stderr.write(`demo: ${error instanceof Error ? error.message : String(error)}\n`);
} finally {
  await clean();
}
