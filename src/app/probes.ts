import { lstat, mkdir, readdir, readFile, readlink, statfs, watch } from 'node:fs/promises';
import { loadSockets } from '../engine/attach.ts';
import { defaultCapabilities } from '../engine/capabilities.ts';
import { defaultSeccomp, parseProfile, profilePath, type Seccomp } from '../engine/seccomp.ts';
import { programMissing } from '../host/child.ts';
import { isErrno, messageOf, SpawnletError } from '../host/error.ts';
import type { Host } from '../host/host.ts';
import type { Entry } from '../image/layer/entry.ts';
import { Extractor } from '../image/layer/extractor.ts';
import { blockSize } from '../image/layer/header.ts';
import { endOfArchive, extraHeaders, writeHeader } from '../image/layer/writer.ts';
import { logNamespace, stateDirectory } from '../names.ts';
import { SystemdClient } from '../systemd/client.ts';
import { type Finding, missing, note, ok, type Place, type Probe } from './doctor.ts';
import { runTrial } from './trial.ts';

/** Numbers of file systems, as statfs(2) has them. */
const overlayMagic = 0x794c7630;
const cgroup2Magic = 0x63677270;

const inLab = 'spawnlet lab up, then: spawnlet lab exec lab -- spawnlet …';

const lastLine = (text: string): string => text.trim().split('\n').at(-1) ?? '';

/** What a shell says as it does what is asked; throws with its last words if it fails. */
async function shell(
  host: Host,
  script: string,
  words: readonly string[],
  signal: AbortSignal,
): Promise<string> {
  const { code, stdout, stderr } = await host.children.capture(['/bin/sh', '-euc', script, 'sh', ...words], {
    signal,
  });
  if (code === 0) return stdout.toString().trim();
  throw new Error(lastLine(stderr) || `ended with ${code}`);
}

const root: Probe = {
  name: 'root',
  purpose: 'mounts, units and devices are root’s to make',
  needs: [],
  look: async () =>
    process.getuid?.() === 0 ? ok('runs as root') : missing('does not run as root', 'sudo spawnlet doctor'),
};

const systemd: Probe = {
  name: 'systemd',
  purpose: 'containers are units of the systemd that is PID 1',
  needs: [],
  look: async (_place, signal) => {
    try {
      await using client = await SystemdClient.connect({ signal });
      const manager = 'org.freedesktop.systemd1.Manager';
      const properties = await client.rawProperties('/org/freedesktop/systemd1', manager, signal);
      return ok(`answers as PID 1, version ${String(properties['Version'])}`);
    } catch (error) {
      if (!(error instanceof SpawnletError)) throw error;
      return missing('systemd is not PID 1 here, or cannot be reached', inLab);
    }
  },
};

const cgroups: Probe = {
  name: 'cgroups',
  purpose: 'a container’s processes are its unit’s cgroup',
  needs: [],
  look: async () => {
    const kind = async (path: string) => {
      try {
        return (await statfs(path)).type;
      } catch (error) {
        if (isErrno(error, 'ENOENT')) return undefined;
        throw error;
      }
    };
    if ((await kind('/sys/fs/cgroup')) === cgroup2Magic) return ok('v2');
    if ((await kind('/sys/fs/cgroup/unified')) === cgroup2Magic)
      return ok('v1, with an empty v2 tree beside it (hybrid)');
    if ((await readdir('/sys/fs/cgroup').catch(() => [])).length > 0) return ok('v1');
    return missing('no cgroup tree at /sys/fs/cgroup', 'mount -t cgroup2 cgroup2 /sys/fs/cgroup');
  },
};

/** Prints the memory, pids and cpu limits of the cgroup that it runs in, of v2 or of v1. */
const readLimits = `
one() { for file do if [ -r "$file" ]; then head -n 1 "$file"; return; fi; done; echo none; }
v1() { sed -n "s,^[0-9]*:\\([^:]*\\,\\)\\{0\\,1\\}$1\\(\\,[^:]*\\)\\{0\\,1\\}:,/sys/fs/cgroup/$1,p" /proc/self/cgroup; }
v2=/sys/fs/cgroup$(sed -n 's/^0:://p' /proc/self/cgroup)
one "$v2/memory.max" "$(v1 memory)/memory.limit_in_bytes"
one "$v2/pids.max" "$(v1 pids)/pids.max"
one "$v2/cpu.max" "$(v1 cpu)/cpu.cfs_quota_us"
`;

const limits: Probe = {
  name: 'limits',
  purpose: '--memory, --pids-limit and --cpus',
  needs: ['root', 'systemd'],
  look: async ({ host }, signal) => {
    const bytes = 64 * 2 ** 20;
    const words = 'systemd-run --quiet --wait --pipe --collect --no-ask-password';
    const properties = [`MemoryMax=${bytes}`, 'TasksMax=321', 'CPUQuota=50%'];
    const { code, stdout, stderr } = await host.children.capture(
      [...words.split(' '), ...properties.map(text => `--property=${text}`), '/bin/sh', '-c', readLimits],
      { signal },
    );
    if (code !== 0) return missing(`a transient unit failed: ${lastLine(stderr)}`, 'systemctl --failed');
    const [memory = '', pids = '', cpu = ''] = stdout.toString().trim().split('\n');
    const lost = [
      ...(memory === String(bytes) ? [] : ['memory']),
      ...(pids === '321' ? [] : ['pids']),
      ...(/^50000\b/.test(cpu) ? [] : ['cpu']),
    ];
    if (lost.length === 0) return ok('memory, pids and cpu limits of a unit reach its cgroup');
    return missing(
      `limits do not reach a unit’s cgroup: ${lost.join(', ')}`,
      'start the kernel with the controllers on (cgroup_enable=memory), or give this container its own cgroups',
    );
  },
};

/** Mounts an overlay where nobody sees it, writes through it and removes a file of the lower directory. */
const tryOverlay = `cd "$1"
mkdir lower upper work merged
echo lower > lower/file
mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work merged
echo upper > merged/other
rm merged/file
test -c upper/file`;

const overlay: Probe = {
  name: 'overlay',
  purpose: 'an image’s layers are a container’s root file system',
  needs: ['root'],
  look: async ({ host, directory }, signal) => {
    const at = `${directory}/overlay`;
    await mkdir(at);
    const script = `exec unshare --mount --propagation private /bin/sh -euc '${tryOverlay}' sh "$1"`;
    try {
      await shell(host, script, [at], signal);
      return ok(`mounts in a mount namespace of its own, on the file system of ${stateDirectory}`);
    } catch (error) {
      signal.throwIfAborted();
      const said = messageOf(error);
      if (!(await readFile('/proc/filesystems', 'utf8')).includes('\toverlay\n'))
        return missing('this kernel has no overlayfs', 'modprobe overlay');
      if ((await statfs(directory)).type === overlayMagic)
        return missing(
          `${stateDirectory} is on an overlay itself: ${said}`,
          `bind a directory of a real file system at ${stateDirectory}`,
        );
      return missing(`an overlay cannot be mounted: ${said}`, `put ${stateDirectory} on ext4, xfs or btrfs`);
    }
  },
};

/** The first line that a program says of its version: proof that it is there and can be run. */
async function versionOf(host: Host, program: string, signal: AbortSignal): Promise<string> {
  const { code, stdout, stderr } = await host.children.capture([program, '--version'], { signal });
  const [line = ''] = stdout.toString().split('\n');
  if (code !== 0) throw new Error(`${program} --version ended with ${code}: ${lastLine(stderr)}`);
  return line.startsWith(program) ? line : `${program} ${line}`;
}

const program = (name: string, purpose: string): Probe => ({
  name,
  purpose,
  needs: [],
  look: async ({ host }, signal) => ok(await versionOf(host, name, signal)),
});

async function readDefaultSeccomp(): Promise<Seccomp> {
  const profile = parseProfile(await readFile(profilePath, 'utf8'), profilePath);
  return defaultSeccomp(profile, defaultCapabilities);
}

const seccomp: Probe = {
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

const container: Probe = {
  name: 'container',
  purpose: 'overlay, conmon, crun and filter together, as spawnlet run has them',
  needs: ['root', 'systemd'],
  look: async ({ host, directory }, signal) => {
    const at = `${directory}/container`;
    await mkdir(at);
    const filter = await readDefaultSeccomp().catch(() => 'unconfined' as const);
    const trial = await runTrial(host, at, filter, signal);
    if (trial.kind === 'ran') return ok('a shell of this host ran in one, and its exit code came through');
    if (/hybrid mode/.test(trial.said))
      return missing(
        `crun refuses this host: ${trial.said}`,
        'boot with systemd.unified_cgroup_hierarchy=1, or work in a lab: spawnlet lab up',
      );
    return missing(trial.said, 'what the checks above find missing; else spawnlet --debug run … shows more');
  },
};

/** A device 0:0 stands for a file that an upper layer removes. */
const whiteouts: Probe = {
  name: 'whiteouts',
  purpose: 'a layer says what it removes by devices 0:0',
  needs: ['root'],
  look: async ({ host, directory }, signal) => {
    try {
      await shell(host, 'exec mknod "$1" c 0 0', [`${directory}/whiteout`], signal);
    } catch (error) {
      signal.throwIfAborted();
      return missing(
        `a device 0:0 cannot be made in ${stateDirectory}: ${messageOf(error)}`,
        'in a container, give it CAP_MKNOD; mount the file system without nodev',
      );
    }
    return ok(`a device 0:0 can be made in ${stateDirectory}`);
  },
};

const member = (entry: Pick<Entry, 'kind' | 'path'> & Partial<Entry>): Buffer => {
  const whole: Entry = {
    mode: 0o755,
    uid: 0,
    gid: 0,
    size: 0,
    mtime: 1,
    nanoseconds: 0,
    target: '',
    major: 0,
    minor: 0,
    xattrs: [],
    ...entry,
  };
  const header = Buffer.alloc(blockSize);
  writeHeader(whole, header, 0);
  return Buffer.concat([extraHeaders(whole), header]);
};

/** A file capability of version 2: CAP_NET_BIND_SERVICE, permitted. */
const capability = Buffer.from('0000000200040000000000000000000000000000', 'hex').toString('latin1');

const unpacking: Probe = {
  name: 'unpacking',
  purpose: 'tar, confined, unpacks layers with owners, devices and attributes',
  needs: ['root'],
  look: async ({ host, directory }, signal) => {
    const [jail, layer] = [`${directory}/jail`, `${directory}/layer`];
    await Promise.all([mkdir(jail), mkdir(layer)]);
    await using extractor = new Extractor(host.children, jail, layer);
    await extractor.write([
      member({ kind: 'directory', path: 'opaque', xattrs: [{ name: 'trusted.overlay.opaque', value: 'y' }] }),
      member({ kind: 'file', path: 'file', xattrs: [{ name: 'security.capability', value: capability }] }),
      member({ kind: 'char', path: 'whiteout', uid: 4321, gid: 4321 }),
      endOfArchive,
    ]);
    await extractor.finish();
    signal.throwIfAborted();
    const made = await lstat(`${layer}/whiteout`);
    if (!made.isCharacterDevice() || made.uid !== 4321)
      return missing(
        'tar did not give a file its type and owner',
        `put ${stateDirectory} on ext4, xfs or btrfs`,
      );
    return ok('owners, devices, file capabilities and overlay’s marks are kept');
  },
};

const journal: Probe = {
  name: 'journal',
  purpose: `the log of containers is a journal of its own (${logNamespace})`,
  needs: ['root', 'systemd'],
  look: async ({ host }, signal) => {
    const words = 'systemd-run --quiet --wait --collect --no-ask-password';
    const socket = `systemd-journald@${logNamespace}.socket`;
    const { code, stderr } = await host.children.capture(
      [
        ...words.split(' '),
        `--property=LogNamespace=${logNamespace}`,
        '--property=StandardOutput=journal',
        ...['/bin/sh', '-c', `test -S /run/systemd/journal/stdout && systemctl is-active --quiet ${socket}`],
      ],
      { signal },
    );
    if (code === 0) return ok(`journalctl --namespace=${logNamespace} reads it`);
    return missing(
      `a unit cannot log into a journal namespace: ${lastLine(stderr) || `it ended with ${code}`}`,
      'systemd 245 or later has them; see: systemctl status systemd-journald@spawnlet.socket',
    );
  },
};

/** Instances that the user has open: each process has at most `max_user_instances` together with its user's others. */
async function inotifyInstances(uid: number): Promise<number> {
  const pids = (await readdir('/proc')).filter(name => /^\d+$/.test(name));
  const counts = await Promise.all(
    pids.map(async pid => {
      try {
        if ((await lstat(`/proc/${pid}`)).uid !== uid) return 0;
        const fds = await readdir(`/proc/${pid}/fd`);
        const targets = await Promise.all(fds.map(fd => readlink(`/proc/${pid}/fd/${fd}`).catch(() => '')));
        return targets.filter(target => target === 'anon_inode:inotify').length;
      } catch (error) {
        if (isErrno(error, 'ENOENT', 'ESRCH', 'EACCES')) return 0;
        throw error;
      }
    }),
  );
  return counts.reduce((sum, count) => sum + count, 0);
}

/** systemd and its services have about this many each time they boot in a lab. */
const spareInstances = 16;

const inotify: Probe = {
  name: 'inotify',
  purpose: 'systemd and labs watch files',
  needs: [],
  look: async () => {
    const file = '/proc/sys/fs/inotify/max_user_instances';
    const most = Number(await readFile(file, 'utf8'));
    const used = await inotifyInstances(process.getuid?.() ?? 0);
    const fix = `sysctl fs.inotify.max_user_instances=${Math.max(1024, most * 2)}`;
    const stop = new AbortController();
    try {
      const events = watch('/', { signal: stop.signal })[Symbol.asyncIterator]();
      const first = events.next().catch(error => error as unknown);
      stop.abort();
      const outcome = await first;
      if (isErrno(outcome, 'EMFILE', 'ENOSPC')) throw outcome;
    } catch (error) {
      if (isErrno(error, 'EMFILE', 'ENOSPC')) return missing(`all of ${most} instances are in use`, fix);
      throw error;
    }
    const finding = `${used} of ${most} instances are in use`;
    return most - used < spareInstances ? note(finding, fix) : ok(finding);
  },
};

const gibibyte = 2 ** 30;

const space: Probe = {
  name: 'space',
  purpose: `images and what containers write lie in ${stateDirectory}`,
  needs: [],
  look: async ({ directory }) => {
    const { bavail, bsize, ffree, files } = await statfs(directory || '/var/lib');
    const free = bavail * bsize;
    const finding = `${(free / gibibyte).toFixed(1)} GiB free`;
    const fix = 'spawnlet image prune, or give the file system more space';
    if (files > 0 && ffree < 1000) return missing(`${finding}, but only ${ffree} inodes`, fix);
    if (free < gibibyte / 8) return missing(finding, fix);
    return free < 2 * gibibyte ? note(finding, fix) : ok(finding);
  },
};

const sockets: Probe = {
  name: 'koffi',
  purpose: 'attaching speaks conmon’s sockets through the C library',
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

const nspawn: Probe = {
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

const labs: Probe = {
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

const userNamespaces: Probe = {
  name: 'user namespaces',
  purpose: 'information: spawnlet does not use them yet',
  needs: ['root'],
  look: async ({ host }, signal) => {
    const asNobody = 'setpriv --reuid=65534 --regid=65534 --clear-groups unshare --user true';
    const { code } = await host.children.capture(asNobody.split(' '), { signal });
    return note(code === 0 ? 'any user can make one' : 'users other than root cannot make one');
  },
};

/** Binds a directory with shifted owners where nobody sees it, and prints who owns it then. */
const tryIdmap = `mkdir "$1/idmap" "$1/shown"
mount --bind -o X-mount.idmap=0:70000:1 "$1/idmap" "$1/shown"
stat --format=%u "$1/shown"`;

const idmaps: Probe = {
  name: 'idmapped mounts',
  purpose: 'information: spawnlet does not use them yet',
  needs: ['root'],
  look: async ({ host, directory }, signal) => {
    const script = `exec unshare --mount --propagation private /bin/sh -euc '${tryIdmap}' sh "$1"`;
    try {
      const owner = await shell(host, script, [directory], signal);
      // A mount(8) that does not know the option leaves it out without a word.
      return note(owner === '70000' ? `work in ${stateDirectory}` : 'this mount(8) does not know them');
    } catch (error) {
      return note(`do not work in ${stateDirectory}: ${messageOf(error)}`);
    }
  },
};

/** Every probe, in the order of the report. */
export const probes: readonly Probe[] = [
  root,
  systemd,
  cgroups,
  limits,
  overlay,
  whiteouts,
  unpacking,
  program('crun', 'isolates containers'),
  program('conmon', 'is a container’s main process, and passes its streams on'),
  seccomp,
  container,
  journal,
  sockets,
  inotify,
  space,
  nspawn,
  labs,
  userNamespaces,
  idmaps,
];

/** Makes the directory that probes work in, on the file system of the store, and takes it away afterwards. */
export async function makePlace(host: Host): Promise<Place & AsyncDisposable> {
  const none = async () => undefined;
  if (process.getuid?.() !== 0) return { host, directory: '', [Symbol.asyncDispose]: none };
  const { files } = host;
  // Names the holder if another doctor is at work, whose directory it is.
  const lock = await host.locks.take('doctor');
  const directory = `${stateDirectory}/doctor`;
  const wasThere = (await files.look(stateDirectory)) !== undefined;
  const clean = () => files.remove(wasThere ? directory : stateDirectory);
  await files.remove(directory);
  await files.makeDirectory(directory, 0o700);
  await files.setMode(stateDirectory, 0o700);
  return {
    host,
    directory,
    async [Symbol.asyncDispose]() {
      await clean();
      await lock[Symbol.asyncDispose]();
    },
  };
}
