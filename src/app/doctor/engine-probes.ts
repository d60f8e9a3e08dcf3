import { mkdir, readFile } from 'node:fs/promises';
import { loadSockets } from '../../engine/attach.ts';
import { defaultCapabilities } from '../../engine/capabilities.ts';
import { defaultSeccomp, parseProfile, profilePath, type Seccomp } from '../../engine/seccomp.ts';
import { programMissing } from '../../host/child.ts';
import { isErrno, messageOf, SpawnletError } from '../../host/error.ts';
import type { Host } from '../../host/host.ts';
import { lastLine, shell } from './ask.ts';
import { type Finding, missing, note, ok, type Place, type Probe } from './diagnosis.ts';
import { runTrial, type Trial } from './trial.ts';

/** The first line that a program says of its version: proof that it is there and can be run. */
async function versionOf(host: Host, program: string, signal: AbortSignal): Promise<string> {
  const { code, stdout, stderr } = await host.children.capture([program, '--version'], { signal });
  const [line = ''] = stdout.toString().split('\n');
  if (code !== 0) throw new Error(`${program} --version ended with ${code}: ${lastLine(stderr)}`);
  return line.toLowerCase().startsWith(program) ? line : `${program} ${line}`;
}

export const program = (name: string, purpose: string): Probe => ({
  name,
  purpose,
  needs: [],
  look: async ({ host }, signal) => ok(await versionOf(host, name, signal)),
});

async function readDefaultSeccomp(): Promise<Seccomp> {
  const profile = parseProfile(await readFile(profilePath, 'utf8'), profilePath);
  return defaultSeccomp(profile, defaultCapabilities);
}

export const seccomp: Probe = {
  name: 'seccomp',
  purpose: 'the system calls that a container may make',
  needs: [],
  look: async () => {
    try {
      const { syscalls } = await readDefaultSeccomp();
      return ok(`${profilePath} gives ${syscalls.length} rules for this machine`);
    } catch (error) {
      if (!isErrno(error, 'ENOENT')) throw error;
      return missing(`there is no ${profilePath}`, 'apt-get install golang-github-containers-common');
    }
  },
};

/** Runs a container by an engine, as far as it goes here. */
async function tryEngine(
  engine: 'crun' | 'nspawn',
  { host, directory }: Place,
  signal: AbortSignal,
): Promise<Trial> {
  const at = `${directory}/${engine}`;
  await mkdir(at);
  const filter = await readDefaultSeccomp().catch(() => 'unconfined' as const);
  return runTrial(host, engine, at, filter, signal);
}

const itRan = 'a shell of this host ran in one, and its exit code came through';

export const container: Probe = {
  name: 'container',
  purpose: 'overlay, conmon, crun and filter together, as spawnlet run has them',
  needs: ['root', 'systemd'],
  look: async (place, signal) => {
    const trial = await tryEngine('crun', place, signal);
    if (trial.kind === 'ran') return ok(itRan);
    if (/hybrid mode/.test(trial.said))
      return missing(
        `crun refuses this host: ${trial.said}`,
        'boot with systemd.unified_cgroup_hierarchy=1, or work in a lab: spawnlet lab up',
      );
    return missing(trial.said, 'what other checks find missing; if they find nothing: journalctl -n 50');
  },
};

export const nspawn: Probe = {
  name: '--engine nspawn',
  purpose: 'containers without crun and conmon',
  needs: ['root', 'systemd'],
  look: async (place, signal) => {
    const trial = await tryEngine('nspawn', place, signal);
    return trial.kind === 'ran' ? ok(itRan) : note(trial.said, 'see systemd-nspawn; or leave --engine out');
  },
};

export const sockets: Probe = {
  name: 'koffi',
  purpose: 'calls of the C library: sockets of conmon, overlays and locks of machines’ trees',
  needs: [],
  look: async () => {
    try {
      const libc = await loadSockets();
      if (libc.shutdown(-1, 0) !== -1) throw new Error('a call of the C library gave a wrong answer');
      return ok('calls the C library');
    } catch (error) {
      return missing(`koffi cannot be loaded: ${messageOf(error)}`, 'make build, or make install again');
    }
  },
};

export const nspawnProgram: Probe = {
  name: 'systemd-nspawn',
  purpose: 'labs, and --engine nspawn',
  needs: [],
  look: async ({ host }, signal) => noteIfMissing(versionOf(host, 'systemd-nspawn', signal)),
};

async function noteIfMissing(found: Promise<string>): Promise<Finding> {
  try {
    return ok(await found);
  } catch (error) {
    const hint = error instanceof SpawnletError ? error.hint : undefined;
    return note(messageOf(error), hint);
  }
}

const labPrograms = ['ip', 'mmdebstrap', 'nsenter', 'script', 'setpriv', 'unshare'];

export const labs: Probe = {
  name: 'lab programs',
  purpose: 'spawnlet lab builds, boots and enters Debian hosts',
  needs: [],
  look: async ({ host }, signal) => {
    const lookFor = 'for program do command -v "$program" >/dev/null || echo "$program"; done';
    const absent = (await shell(host, lookFor, labPrograms, signal)).split('\n').filter(Boolean);
    if (absent.length === 0) return ok(labPrograms.join(', '));
    const hints = absent.map(name => programMissing(name).hint?.replace('apt-get install ', ''));
    return note(`not installed: ${absent.join(', ')}`, `apt-get install ${[...new Set(hints)].join(' ')}`);
  },
};

export const names: Probe = {
  name: 'dnsmasq',
  purpose: 'containers on the bridge find each other by name, and so do pods',
  needs: [],
  look: async ({ host }, signal) => {
    try {
      return ok(await versionOf(host, 'dnsmasq', signal));
    } catch (error) {
      if (!(error instanceof SpawnletError)) throw error;
      return note('not installed: containers and pods ask the name servers of the host', error.hint);
    }
  },
};
