/**
 * Measures spawnlet beside its peers, in a lab that is made for it and removed afterwards.
 *
 *   node test/bench/bench.ts        ROWS=run,pull: only these; QUICK=5 SLOW=2: fewer samples; SPAWNLET=PATH: another build
 */
import { join } from 'node:path';
import { ended } from '../../src/host/child.ts';
import { recipeOf, treePath } from '../../src/lab/tree.ts';
import { checkout, useLab } from '../harness/lab.ts';
import { machineRows } from './machine-rows.ts';
import { podRows } from './pod-rows.ts';
import { rows as appRows } from './rows.ts';

/** podman 4 knows cgroup v2 or one v1 tree, not both at once: here it sees v2, in a mount namespace of the benchmark's own. */
const unified = `if [ -d /sys/fs/cgroup/unified ]; then
  umount --recursive /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup
fi
exec "$@"`;

const rows = { ...appRows, ...machineRows, ...podRows };
const names = (process.env['ROWS'] ?? '').split(',').filter(Boolean);
const unknown = names.filter(name => !(name in rows));
if (unknown.length > 0) {
  process.stderr.write(`no rows ${unknown.join(', ')}; there are ${Object.keys(rows).join(', ')}\n`);
  process.exit(1);
}

/** A lab of no more than Debian's own: its tree is what machines are made of. */
const minimal = { suite: 'bookworm', packages: [] } as const;
await (await useLab(minimal))[Symbol.asyncDispose]();
const tree = treePath(recipeOf(minimal, process.arch === 'arm64' ? 'arm64' : 'amd64'));

await using lab = await useLab({
  packages: [
    'containernetworking-plugins',
    'docker-registry',
    'e2fsprogs',
    'nftables',
    'podman',
    'skopeo',
    'umoci',
  ],
  // Node keeps compiled code in the build's directory, as it does where spawnlet is installed.
  binds: ['/bin/busybox:/bin/busybox:ro', join(checkout, 'dist'), `${join(tree, 'root')}:/srv/tree:ro`],
});
const settings = ['QUICK', 'SLOW', 'SPAWNLET'].flatMap(key => {
  const value = process.env[key];
  return value === undefined ? [] : [[key, value] as const];
});
const inside = [process.execPath, join(checkout, 'test/bench/inside.ts'), ...names];
const isolated = ['unshare', '--mount', '--propagation', 'slave', 'sh', '-ec', unified, 'sh', ...inside];
const child = await lab.spawn(isolated, { stdio: 'inherit' }, Object.fromEntries(settings));
// The lab is taken down whatever ends the measuring.
for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(name, () => child.kill(name));
process.exitCode = await ended(child);
