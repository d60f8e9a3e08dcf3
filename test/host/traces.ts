/** Everything that a command could leave on a host, as lines that a test compares. */
import { createHash } from 'node:crypto';
import { lstat, readdir, readFile, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { systemChildren } from '../../src/host/child.ts';
import { isErrno } from '../../src/host/error.ts';

const trees = [
  '/var/lib/spawnlet',
  '/run/spawnlet',
  '/etc/systemd',
  '/run/systemd/system',
  '/run/systemd/transient',
];

/** Gone between two looks is gone. */
async function unlessGone<T>(look: Promise<T>, otherwise: T): Promise<T> {
  try {
    return await look;
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ENOTDIR', 'ESRCH', 'ENODEV')) return otherwise;
    throw error;
  }
}

/** Compiled filters are a cache of this boot, of no container; half written they are swept with the next one. */
const cache = '/run/spawnlet/seccomp';

async function* files(path: string): AsyncGenerator<string> {
  if (path === cache) return;
  const stat = await unlessGone(lstat(path), undefined);
  if (!stat) return;
  const about = `${path} ${stat.mode.toString(8)} ${stat.uid}:${stat.gid}`;
  if (stat.isSymbolicLink()) yield `${about} -> ${await unlessGone(readlink(path), '')}`;
  else if (stat.isFile()) {
    const bytes = await unlessGone(readFile(path), Buffer.alloc(0));
    yield `${about} ${createHash('sha256').update(bytes).digest('hex').slice(0, 16)}`;
  } else {
    yield about;
    // The content of unpacked layers is their own tests' business.
    if (!stat.isDirectory() || /\/l\/[0-9a-f]+$/.test(path)) return;
    for (const name of (await unlessGone(readdir(path), [])).sort()) yield* files(join(path, name));
  }
}

async function* below(path: string): AsyncGenerator<string> {
  for (const entry of await unlessGone(readdir(path, { withFileTypes: true }), [])) {
    if (!entry.isDirectory()) continue;
    yield join(path, entry.name);
    yield* below(join(path, entry.name));
  }
}

/** Of every hierarchy, each once: a unit is in more or fewer of version 1 as systemd sees fit. */
async function cgroups(): Promise<string[]> {
  const mounted = (await readFile('/proc/self/mountinfo', 'utf8')).matchAll(
    / (\S+) \S+ (?:[^-]\S* )*- cgroup2? /g,
  );
  const found = new Set<string>();
  for (const [, root = ''] of mounted)
    for await (const path of below(root)) found.add(path.slice(root.length));
  return [...found].sort();
}

/** Processes that are not of the test itself, with their network and PID namespaces. */
async function* processes(): AsyncGenerator<string> {
  for (const pid of await readdir('/proc')) {
    if (!/^\d+$/.test(pid) || (await ofTest(pid))) continue;
    const words = await unlessGone(readFile(`/proc/${pid}/cmdline`, 'utf8'), '');
    const spaces = await Promise.all(
      ['net', 'pid'].map(kind => unlessGone(readlink(`/proc/${pid}/ns/${kind}`), '')),
    );
    if (words !== '') yield `${words.replaceAll('\0', ' ').trim()} ${spaces.join(' ')}`;
  }
}

async function ofTest(pid: string): Promise<boolean> {
  for (let at = pid; at !== '0' && at !== '1' && at !== ''; ) {
    if (at === String(process.pid)) return true;
    const stat = await unlessGone(readFile(`/proc/${at}/stat`, 'latin1'), '');
    at = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1] ?? '';
  }
  return pid === String(process.ppid);
}

async function units(): Promise<string[]> {
  const argv = ['systemctl', 'list-units', '--all', '--plain', '--no-legend', '--no-pager', '--full'];
  const { stdout } = await systemChildren.capture([
    ...argv,
    '--type=service,mount,scope,slice,socket,target',
  ]);
  // One that is loaded and does nothing is there because another has named it.
  return stdout
    .toString()
    .split('\n')
    .map(line => line.split(/\s+/).slice(0, 4).join(' '))
    .filter(line => !line.endsWith('inactive dead'));
}

async function collect(lines: AsyncIterable<string>): Promise<string[]> {
  const all: string[] = [];
  for await (const line of lines) all.push(line);
  return all.sort();
}

/** Where the journal's daemons are busy is not the command's doing. */
const noise = /systemd-journald|systemd-tmpfiles|systemd-logind|session-|user-0|user@|\(sd-/;

/** The bridge is there for all containers, and for a while after the last; what one of them has of it is not. */
const bridge =
  /spawnlet-(nat|dns)\b(?!-leave@[^.])|spawnlet0|^process (\/bin\/sleep 300|\/usr\/sbin\/dnsmasq) |\/lib\/spawnlet\/network\b|\/run\/spawnlet\/(dns|forwarding|nat)(\/(bridges|names|ports|chains|ipv[46]|accept_ra))* /;

/** Ports that are published. */
async function ports(): Promise<string[]> {
  const { stdout } = await systemChildren.capture(['nft', 'list', 'ruleset']);
  return stdout
    .toString()
    .split(/[\n,{}]/)
    .map(line => line.trim())
    .filter(line => / : \S+ \. \d+$/.test(line));
}

/** Units, mounts, links, cgroups, processes with their namespaces, and files. */
export async function traces(): Promise<string[]> {
  const mounts = (await readFile('/proc/self/mountinfo', 'utf8'))
    .split('\n')
    .map(line => line.split(' ')[4] ?? '');
  const [unitLines, links, elements, groups, running, ...trees_] = await Promise.all([
    units(),
    readdir('/sys/class/net'),
    ports(),
    cgroups(),
    collect(processes()),
    ...trees.map(tree => collect(files(tree))),
  ]);
  const kinds = {
    unit: unitLines,
    mount: mounts,
    link: links,
    port: elements,
    cgroup: groups,
    process: running,
    file: trees_.flat(),
  };
  return Object.entries(kinds)
    .flatMap(([kind, lines]) => lines.filter(line => line !== '').map(line => `${kind} ${line}`))
    .filter(line => !noise.test(line) && !bridge.test(line));
}

/** Lines that came and lines that went, as a diff has them. */
export function difference(before: readonly string[], after: readonly string[]): string[] {
  const old = new Set(before);
  const fresh = new Set(after);
  return [
    ...after.filter(line => !old.has(line)).map(line => `+ ${line}`),
    ...before.filter(line => !fresh.has(line)).map(line => `- ${line}`),
  ];
}

/** Waits until nothing differs from `before`: a unit takes a moment to end. Gives what still does at the deadline. */
export async function settledDifference(before: readonly string[], seconds = 20): Promise<string[]> {
  const deadline = performance.now() + seconds * 1000;
  for (;;) {
    const found = difference(before, await traces());
    if (found.length === 0 || performance.now() > deadline) return found;
    await new Promise(wake => {
      setTimeout(wake, 100);
    });
  }
}
