import { closeSync } from 'node:fs';
import { lstat, readdir, readFile, readlink, statfs } from 'node:fs/promises';
import { isErrno, SpawnletError } from '../../host/error.ts';
import { loadLibc } from '../../host/libc.ts';
import { logNamespace } from '../../names.ts';
import { SystemdClient } from '../../systemd/client.ts';
import { inUnit, lastLine } from './ask.ts';
import { missing, note, ok, type Probe } from './diagnosis.ts';

/** IN_CLOEXEC of inotify_init1(2). */
const closeOnExec = 0o2000000;

/** Of statfs(2). */
const cgroup2Magic = 0x63677270;

const inLab = 'spawnlet lab up, then: spawnlet lab exec lab -- spawnlet …';

export const root: Probe = {
  name: 'root',
  purpose: 'mounts, units and devices are root’s to make',
  needs: [],
  look: async () =>
    process.getuid?.() === 0 ? ok('runs as root') : missing('does not run as root', 'sudo spawnlet doctor'),
};

export const systemd: Probe = {
  name: 'systemd',
  purpose: 'containers are units of the systemd that is PID 1',
  needs: [],
  look: async (_place, signal) => {
    try {
      await using client = await SystemdClient.connect({ signal });
      const manager = 'org.freedesktop.systemd1.Manager';
      const properties = await client.rawProperties('/org/freedesktop/systemd1', manager, signal);
      const version = properties.get('Version');
      return ok(`answers as PID 1, version ${typeof version === 'string' ? version : 'unknown'}`);
    } catch (error) {
      if (!(error instanceof SpawnletError)) throw error;
      return missing('systemd is not PID 1 here, or cannot be reached', inLab);
    }
  },
};

/** Ends with 0 if whoever enters the unit's mount namespace, as `exec` does, comes to its root directory. */
const enterSelf = `exec 3< /
exec nsenter --mount=/proc/self/ns/mnt /bin/sh -c '[ / -ef /proc/self/fd/3 ]'`;

export const rootDirectory: Probe = {
  name: 'root directory',
  purpose: 'exec comes into a container by its mount namespace',
  needs: ['root', 'systemd'],
  look: async ({ host }, signal) => {
    const { code } = await inUnit(host, ['PrivateMounts=yes'], enterSelf, signal);
    // A shell that is not found there is another's, too.
    if (code === 0) return ok('systemd’s is that of its mount namespace');
    return missing(
      'systemd runs in a chroot: exec would come out at the root of the mount namespace, outside of it',
      'start systemd, or the lab, outside of the chroot; or where pivot_root(8) has made it the root',
    );
  },
};

export const cgroups: Probe = {
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
      return ok('v1, with a v2 tree beside it (hybrid)');
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

export const limits: Probe = {
  name: 'limits',
  purpose: '--memory, --pids-limit and --cpus',
  needs: ['root', 'systemd'],
  look: async ({ host }, signal) => {
    const bytes = 64 * 2 ** 20;
    const properties = [`MemoryMax=${bytes}`, 'TasksMax=321', 'CPUQuota=50%'];
    const { code, stdout, stderr } = await inUnit(host, properties, readLimits, signal);
    if (code !== 0) return missing(`a transient unit failed: ${lastLine(stderr)}`, 'systemctl --failed');
    const [memory = '', pids = '', cpu = ''] = stdout.trim().split('\n');
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

export const journal: Probe = {
  name: 'journal',
  purpose: 'the log of containers is a journal of its own',
  needs: ['root', 'systemd'],
  look: async ({ host }, signal) => {
    const isItsOwn = `test /run/systemd/journal/stdout -ef /run/systemd/journal.${logNamespace}/stdout`;
    const { code, stderr } = await inUnit(host, [`LogNamespace=${logNamespace}`], isItsOwn, signal);
    if (code === 0) return ok(`a unit logs into it: journalctl --namespace=${logNamespace}`);
    return missing(
      `a unit cannot log into a journal namespace: ${lastLine(stderr) || `it ended with ${code}`}`,
      `systemctl status systemd-journald@${logNamespace}.socket`,
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

/** A lab has about this many, and a machine six. */
const spareInstances = 16;

/** How many instances can be opened, at most `enough`: those of other PID namespaces count, but cannot be seen. */
async function freeInstances(enough: number): Promise<number> {
  const libc = await loadLibc();
  const open = libc.func('int inotify_init1(int flags)');
  const opened: number[] = [];
  try {
    while (opened.length < enough) {
      const descriptor = open(closeOnExec);
      if (descriptor < 0) break;
      opened.push(descriptor);
    }
  } finally {
    for (const descriptor of opened) closeSync(descriptor);
  }
  return opened.length;
}

export const inotify: Probe = {
  name: 'inotify',
  purpose: 'systemd watches files, in labs and machines too',
  needs: [],
  look: async () => {
    const most = Number(await readFile('/proc/sys/fs/inotify/max_user_instances', 'utf8'));
    const used = await inotifyInstances(process.getuid?.() ?? 0);
    const fix = `sysctl fs.inotify.max_user_instances=${Math.max(1024, most * 2)}`;
    const free = await freeInstances(spareInstances);
    if (free === 0) return missing(`all of ${most} instances are in use`, fix);
    if (free < spareInstances) return note(`${free} of ${most} instances are free`, fix);
    return ok(`${used} of ${most} instances are seen in use`);
  },
};

export const userNamespaces: Probe = {
  name: 'user namespaces',
  purpose: 'pods with hostUsers: false, and machines with --private-users pick',
  needs: ['root'],
  look: async ({ host }, signal) => {
    const asNobody = 'setpriv --reuid=65534 --regid=65534 --clear-groups unshare --user true';
    const { code } = await host.children.capture(asNobody.split(' '), { signal });
    return note(code === 0 ? 'any user can make one' : 'users other than root cannot make one');
  },
};
