/** Containers on systemd as PID 1 and cgroup v2. */
import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import { ended, systemChildren } from '../../src/host/child.ts';
import { done, groupOf, inspect, isUp, ofGroup, runsIn, spawnlet, system, until, words } from './guest.ts';
import type { Check } from './report.ts';

const image = 'oci:/usr/local/images:busybox';
const megabytes = 2 ** 20;
/** Ends with 9 when it is asked to. */
const patient = ['sh', '-c', 'trap "exit 9" TERM; sleep 100000 & wait'];
/** Touches a buffer of 100 MB. */
const greedy = ['dd', 'if=/dev/zero', 'of=/dev/null', 'bs=100M', 'count=1'];

const hostChecks: Check[] = [
  {
    title: 'systemd is PID 1 and /sys/fs/cgroup is cgroup2',
    see: async () => {
      assert.equal(await readFile('/proc/1/comm', 'utf8'), 'systemd\n');
      const type = await system('findmnt', '--noheadings', '--output=FSTYPE', '/sys/fs/cgroup');
      assert.equal(type, 'cgroup2');
      const [version] = (await system('systemctl', '--version')).split('\n');
      const controllers = (await readFile('/sys/fs/cgroup/cgroup.controllers', 'utf8')).trim();
      return `${version}, kernel ${await system('uname', '-r')}, ${controllers}`;
    },
  },
  {
    title: 'doctor',
    see: async () => {
      const { code, out, err } = await spawnlet('doctor', '-o', 'json');
      assert.ok(out.startsWith('['), err);
      const rows = JSON.parse(out) as { name: string; verdict: string; finding: string }[];
      const others = rows.filter(row => row.verdict !== 'ok');
      const told = others.map(row => `${row.name} ${row.verdict} (${row.finding})`).join('; ');
      assert.equal(code, 0, told);
      // Of what a kernel may lack, and nothing needs.
      for (const { name } of others) assert.match(name, /^(?:user namespaces|idmapped mounts|agent)$/, told);
      return `${rows.length - others.length} ok; ${told}`;
    },
  },
  { title: 'pull from a layout', see: () => done('image', 'pull', image) },
];

const runChecks: Check[] = [
  {
    title: 'run --rm passes output and exit code',
    see: async () => {
      const { code, out, err } = await spawnlet('run', '--rm', image, 'sh', '-c', 'echo from inside; exit 7');
      assert.deepEqual([code, out], [7, 'from inside\n'], err);
      return `${out.trim()}, ${code}`;
    },
  },
  {
    title: 'run -d with --memory, --cpus, --pids-limit',
    see: () =>
      done(...words('run -d --name limited --memory 32m --cpus 0.5 --pids-limit 64'), image, ...patient),
  },
  ...Object.entries({
    'memory.max': String(32 * megabytes),
    'cpu.max': '50000 100000',
    // conmon is one of them.
    'pids.max': '65',
  }).map(([file, value]) => ({
    title: `${file} of its unit`,
    see: async () => {
      assert.equal(await ofGroup('limited', file), value);
      return value;
    },
  })),
  {
    title: 'a program in it reads its own limit',
    see: async () => {
      const inside = await done('exec', 'limited', 'cat', '/sys/fs/cgroup/memory.max', '/proc/self/cgroup');
      assert.equal(inside, `${32 * megabytes}\n0::/\n`);
      return inside;
    },
  },
  {
    title: 'a program in it cannot change its limit',
    see: async () => {
      const { code, err } = await spawnlet(
        ...words('exec limited sh -c'),
        'echo max > /sys/fs/cgroup/memory.max',
      );
      assert.notEqual(code, 0);
      assert.match(err, /Read-only/);
      return err;
    },
  },
  {
    title: 'exec runs in its cgroup',
    see: async () => {
      const child = systemChildren.spawn(['spawnlet', 'exec', '-i', 'limited', 'cat'], {
        stdio: ['pipe', 'ignore', 'inherit'],
      });
      const end = ended(child);
      await Promise.race([
        until(() => runsIn('limited', 'cat'), 'cat runs in the cgroup of limited'),
        end.then(code => assert.fail(`exec ended with ${code}`)),
      ]);
      child.stdin?.end();
      assert.equal(await end, 0);
      return `cat is in ${await groupOf('limited')}`;
    },
  },
  {
    title: 'a disk of the host can be made as a node and not opened',
    see: async () => {
      const [, major, minor] =
        /^(\d+):(\d+)/.exec(await system('findmnt', '--noheadings', '--output=MAJ:MIN', '/')) ?? [];
      const read = `mknod /disk b ${major} ${minor} && echo made; head -c 1 /disk`;
      const { out, err } = await spawnlet('exec', 'limited', 'sh', '-c', read);
      assert.deepEqual([out, /not permitted/.test(err)], ['made\n', true], err);
      return `${out} ${err}`;
    },
  },
  {
    title: 'systemctl freeze and thaw',
    see: async () => {
      await system('systemctl', 'freeze', 'limited');
      assert.match(await ofGroup('limited', 'cgroup.events'), /^frozen 1$/m);
      await system('systemctl', 'thaw', 'limited');
      assert.match(await ofGroup('limited', 'cgroup.events'), /^frozen 0$/m);
      return 'frozen 1, then frozen 0';
    },
  },
  {
    title: 'stop keeps the exit code',
    see: async () => {
      await done('stop', 'limited');
      const { state } = await inspect('limited');
      assert.deepEqual([state.kind, state.exitCode, state.oomKilled], ['exited', 9, false]);
      return JSON.stringify(state);
    },
  },
];

const outOfMemory = (engine: string): Check => ({
  title: `out of memory is told, engine ${engine}`,
  see: async () => {
    const name = `greedy-${engine}`;
    const { code, err } = await spawnlet(
      ...words(`run --name ${name} --engine ${engine} --memory 32m`),
      image,
      ...greedy,
    );
    const { state } = await inspect(name);
    assert.deepEqual([code, state.exitCode, state.oomKilled], [137, 137, true], JSON.stringify(state) + err);
    return `${code}, ${JSON.stringify(state)}`;
  },
});

const sample = String.raw`printf 'one\n\n<3>three\tend\0\377\n'; printf 'other\n' >&2; printf 'not ended'`;

const moreChecks: Check[] = [
  outOfMemory('crun'),
  {
    title: 'logs are byte-exact',
    see: async () => {
      await done('run', '-d', '--name', 'said', image, 'sh', '-c', sample);
      await done('wait', 'said');
      const { bytes } = await spawnlet('logs', '--stream', 'stdout', 'said');
      assert.deepEqual(bytes, Buffer.from('one\n\n<3>three\tend\0\xff\nnot ended', 'latin1'));
      return JSON.stringify(bytes.toString('latin1'));
    },
  },
  {
    title: 'run --rm by the engine nspawn, which leaves the cgroups as they are',
    see: async () => {
      const { code, out, err } = await spawnlet(
        ...words(`run --rm --engine nspawn ${image} sh -c`),
        'echo from nspawn; exit 5',
      );
      assert.deepEqual([code, out], [5, 'from nspawn\n'], err);
      // nspawn knows how to mount a tree of version 1, which is then the whole host's.
      assert.match(await readFile('/proc/self/cgroup', 'utf8'), /^0::[^\n]*\n$/);
      return `${out.trim()}, ${code}`;
    },
  },
  outOfMemory('nspawn'),
  {
    title: 'rm leaves no unit, cgroup, file',
    see: async () => {
      await done('rm', '--all', '--force');
      assert.deepEqual(await readdir('/var/lib/spawnlet/app'), []);
      const units = await system('systemctl', 'list-units', '--all', '--plain', '--no-legend');
      assert.doesNotMatch(units, /limited|greedy|said/);
      return 'none left';
    },
  },
  {
    title: 'a container to be there after a boot',
    see: async () => {
      await done('run', '-d', '--name', 'lasting', '--network=host', '--enable', image, ...patient);
      return system('systemctl', 'is-enabled', 'lasting');
    },
  },
  {
    title: 'a container that the shutdown is to end',
    see: () => done('run', '-d', '--name', 'asked', image, ...patient),
  },
];

export const containers: readonly Check[] = [...hostChecks, ...runChecks, ...moreChecks];

/** After a reboot. */
export const restarted: readonly Check[] = [
  {
    title: 'the shutdown asked a container to end, and kept its exit code',
    see: async () => {
      const { state } = await inspect('asked');
      assert.deepEqual([state.kind, state.exitCode], ['exited', 9], JSON.stringify(state));
      return JSON.stringify(state);
    },
  },
  {
    title: 'the container was started at boot',
    see: async () => {
      await until(
        async () => ((await isUp('lasting')) ? runsIn('lasting', 'sleep') : undefined),
        'lasting runs',
      );
      return `${(await inspect('lasting')).state.kind}, ${await done('ps')}`;
    },
  },
];
