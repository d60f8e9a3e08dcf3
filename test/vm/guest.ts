/** What checks look at: the command, units, and their cgroups. */
import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import { check, systemChildren } from '../../src/host/child.ts';

/** Software emulation is some thirty times slower than the machine that it runs on. */
const patience = 150_000;
const signal = () => AbortSignal.timeout(patience);

export interface Ran {
  readonly code: number;
  readonly out: string;
  readonly bytes: Buffer;
  readonly err: string;
}

/** A command line's words, none of which has a space in it. */
export const words = (line: string): string[] => line.split(' ');

/** Runs spawnlet to its end. */
export async function spawnlet(...argv: readonly string[]): Promise<Ran> {
  const { code, stdout, stderr } = await systemChildren.capture(['spawnlet', ...argv], { signal: signal() });
  return { code, out: stdout.toString(), bytes: stdout, err: stderr };
}

/** {@link spawnlet} that must end with 0: its output. */
export async function done(...argv: readonly string[]): Promise<string> {
  const { code, out, err } = await spawnlet(...argv);
  assert.equal(code, 0, `spawnlet ${argv.join(' ')} ended with ${code}: ${err}${out}`);
  return out;
}

/** A program's output, without the white space around it. */
export async function system(...argv: readonly string[]): Promise<string> {
  return (await check(systemChildren, argv, { signal: signal() })).toString().trim();
}

const root = '/sys/fs/cgroup';

/** A unit's directory below /sys/fs/cgroup. */
export async function groupOf(name: string): Promise<string> {
  const group = await system('systemctl', 'show', '--property=ControlGroup', '--value', `${name}.service`);
  assert.notEqual(group, '', `${name}.service has no cgroup`);
  return `${root}${group}`;
}

/** A file of a running unit's cgroup. */
export const ofGroup = async (name: string, file: string): Promise<string> =>
  (await readFile(`${await groupOf(name)}/${file}`, 'utf8')).trim();

/** Waits for a state that nobody tells of. */
export async function until<T>(look: () => Promise<T | undefined>, what: string): Promise<T> {
  const deadline = performance.now() + patience;
  for (;;) {
    const found = await look();
    if (found !== undefined) return found;
    assert.ok(performance.now() < deadline, `it did not come to pass that ${what}`);
    await new Promise(wake => {
      setTimeout(wake, 100);
    });
  }
}

/** Whether the unit of a container has been started. */
export const isUp = async (name: string): Promise<boolean> =>
  (await system('systemctl', 'show', '--property=ActiveState', '--value', `${name}.service`)) === 'active';

/** Whether a process of the unit runs this program. */
export async function runsIn(name: string, program: string): Promise<true | undefined> {
  for (const pid of (await ofGroup(name, 'cgroup.procs')).split('\n')) {
    const comm = await readFile(`/proc/${pid}/comm`, 'utf8').catch(() => '');
    if (comm.trim() === program) return true;
  }
}

export interface Inspected {
  readonly state: { readonly kind: string; readonly exitCode?: number; readonly oomKilled?: boolean };
}

export async function inspect(name: string): Promise<Inspected> {
  const [found] = JSON.parse(await done('inspect', name)) as Inspected[];
  assert.ok(found, `inspect ${name} told nothing`);
  return found;
}

/** Everything that containers, labs and machines could leave on a host, as lines of text. */
export async function traces(): Promise<string[]> {
  const [cgroups, units, mounts, links] = await Promise.all([
    readdir(root, { recursive: true, withFileTypes: true }),
    system('systemctl', 'list-units', '--all', '--plain', '--no-legend', '--type=service'),
    readFile('/proc/self/mountinfo', 'utf8'),
    system('ip', '-oneline', 'link'),
  ]);
  const names = await Promise.all(
    [
      '/var/lib/spawnlet/app',
      '/var/lib/spawnlet/lab/labs',
      '/var/lib/spawnlet/lab/networks',
      '/run/netns',
      '/run/spawnlet',
      '/run/systemd/nspawn/propagate',
      '/etc/systemd/nspawn',
      '/etc/systemd/system',
      '/run/systemd/system',
      '/var/lib/machines',
      '/var/lib/spawnlet/machine',
      '/var/lib/spawnlet/network',
    ].map(async path => (await readdir(path).catch(() => [])).map(name => `file ${path}/${name}`)),
  );
  // A run of --rm leaves the files of the bridge to the next one, and nothing that runs.
  const ofBridge = /^file .*\/(?:spawnlet-nat|spawnlet\/network\/)/;
  const kept = /journald|spawnlet-smoke|\/run\/spawnlet\/lock|machines\.target\.wants/;
  return [
    ...cgroups.filter(entry => entry.isDirectory()).map(entry => `cgroup ${entry.parentPath}/${entry.name}`),
    ...units.split('\n').map(line => `unit ${line.split(' ')[0]}`),
    ...mounts.split('\n').map(line => `mount ${line.split(' ')[4]}`),
    ...links.split('\n').map(line => `link ${line.split(' ')[1]}`),
    ...names.flat(),
  ].filter(line => !kept.test(line) && !ofBridge.test(line));
}
