/** Machines on systemd as PID 1 and cgroup v2. */
import assert from 'node:assert/strict';
import { readFileSync, watch } from 'node:fs';
import { lstat, readFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { text } from 'node:stream/consumers';
import { done, groupOf, ofGroup, spawnlet, system, traces, until, words } from './guest.ts';
import type { Check } from './report.ts';
import { base, plainTree } from './trees.ts';

const megabytes = 2 ** 20;
const unitOf = (name: string) => `systemd-nspawn@${name}`;
const machine = (line: string, ...more: readonly string[]) => done('machine', ...words(line), ...more);

/** What the service of a machine's tree says, as soon as it can be reached. */
const whoAnswers = (address: string, port: number): Promise<string> =>
  until(
    async () => (await text(connect(port, address)).catch(() => '')) || undefined,
    `${address}:${port} answers`,
  );

/** What the unit's cgroup tells of frozen while something is done. */
async function frozenDuring(unit: string, work: () => Promise<unknown>): Promise<string[]> {
  const file = `${await groupOf(unit)}/cgroup.events`;
  const look = () => /^frozen \d$/m.exec(readFileSync(file, 'utf8'))?.[0] ?? '';
  const seen = [look()];
  const watcher = watch(file, () => {
    const now = look();
    if (now !== seen.at(-1)) seen.push(now);
  });
  try {
    await work();
  } finally {
    watcher.close();
  }
  return seen;
}

const frozenOnce = ['frozen 0', 'frozen 1', 'frozen 0'];
const flags =
  '--network nat --publish 8080:80 --memory 768m --cpus 1.5 --tasks 400 --io-weight 200 --enable ' +
  '--profile nested --bind /srv/containers:/var/lib/spawnlet --bind-ro /usr/local:/usr/local';

const cloned: readonly Check[] = [
  {
    title: 'machine create --start of a base',
    see: async () => {
      await system('mkdir', '-p', '/srv/containers');
      await machine(`create one --from base:${base} --start ${flags}`);
      return system('machinectl', 'list', '--no-legend');
    },
  },
  {
    title: 'it has booted when create returns',
    see: () => machine('exec one systemctl is-active multi-user.target'),
  },
  ...Object.entries({
    'memory.max': String(768 * megabytes),
    'cpu.max': '150000 100000',
    'pids.max': '400',
    'io.weight': 'default 200',
  }).map(([file, value]) => ({
    title: `${file} of its unit`,
    see: async () => {
      assert.equal(await ofGroup(unitOf('one'), file), value);
      return value;
    },
  })),
  {
    title: 'set changes a limit while it runs',
    see: async () => {
      const leader = await system('machinectl', 'show', 'one', '--value', '--property=Leader');
      await machine('set one memory=640m');
      assert.equal(await ofGroup(unitOf('one'), 'memory.max'), String(640 * megabytes));
      assert.equal(await system('machinectl', 'show', 'one', '--value', '--property=Leader'), leader);
      return `${640 * megabytes}`;
    },
  },
  {
    title: 'a published port is answered on the loop-back',
    see: async () => {
      const said = await whoAnswers('127.0.0.1', 8080);
      assert.equal(said, 'one\n');
      return said;
    },
  },
  {
    title: 'a container runs in it, for it has the profile nested',
    see: () =>
      machine(
        'exec one -- /usr/local/bin/spawnlet run --rm --memory 32m oci:/usr/local/images:busybox cat /sys/fs/cgroup/memory.max',
      ),
  },
  {
    title: 'a snapshot of it is taken while it is frozen',
    see: async () => {
      await machine('exec one -- touch /root/kept');
      const seen = await frozenDuring(unitOf('one'), () => machine('snapshot one first'));
      assert.deepEqual(seen, frozenOnce);
      await lstat('/var/lib/spawnlet/machine/one/snapshots/first/tree/root/kept');
      return seen.join(', ');
    },
  },
  {
    title: 'a clone of it has its files, and an identity of its own',
    see: async () => {
      const seen = await frozenDuring(unitOf('one'), () => machine('clone one two'));
      assert.deepEqual(seen, frozenOnce);
      await lstat('/var/lib/machines/two/root/kept');
      const [one, two] = await Promise.all(
        ['one', 'two'].map(name => readFile(`/var/lib/machines/${name}/etc/machine-id`, 'utf8')),
      );
      assert.notEqual(one, two);
      await machine('rm two');
      return `${one} ${two}`;
    },
  },
];

let before: readonly string[] = [];

/** A link with ipvlan on one end; who speaks from the other is a neighbour. */
const links = [
  'ip link add up0 type veth peer name up1',
  'ip address add 192.0.2.1/24 dev up1',
  'ip link set up0 up',
  'ip link set up1 up',
];

const plain: readonly Check[] = [
  {
    title: 'machine create --directory --private-users pick --network ipvlan',
    see: async () => {
      for (const line of links) await system(...words(line));
      before = await traces();
      await machine(
        `create plain --directory /usr/local/${plainTree} --hostname plain --private-users pick`,
        ...words('--network ipvlan=up0,address=192.0.2.2/24 --start'),
      );
      return system('machinectl', 'list', '--no-legend');
    },
  },
  {
    title: 'its root is nobody of the host, and owns its files as root',
    see: async () => {
      const leader = await system('machinectl', 'show', 'plain', '--value', '--property=Leader');
      const { uid } = await lstat(`/proc/${leader}`);
      assert.ok(uid >= 2 ** 16, `its PID 1 runs as ${uid}`);
      await machine('exec plain -- touch /root/made');
      for (const path of ['bin/cat', 'etc/hostname', 'root/made', 'var/log/journal'])
        assert.equal((await lstat(`/usr/local/${plainTree}/${path}`)).uid, 0, path);
      const inside = await machine('exec plain -- stat --format=%u /root/made /usr/bin/cat');
      assert.equal(inside, '0\n0\n');
      return `${uid}, on the disk 0`;
    },
  },
  {
    title: 'a neighbour reaches it through ipvlan',
    see: async () => {
      const said = await whoAnswers('192.0.2.2', 80);
      assert.equal(said, 'plain\n');
      return `${said} ${await machine('exec plain -- ip -brief address')}`;
    },
  },
  {
    title: 'machine rm --force leaves nothing but the tree',
    see: async () => {
      await machine('rm --force plain');
      const left = (await traces()).filter(line => !before.includes(line));
      assert.deepEqual(left, []);
      await lstat(`/usr/local/${plainTree}/root/made`);
      await system('ip', 'link', 'delete', 'up0');
      return 'nothing';
    },
  },
];

export const machines: readonly Check[] = [...cloned, ...plain];

/** "Started", systemd.journal-fields(7); sd-messages.h. */
const startedMessage = 'MESSAGE_ID=39f53479d3a045ac8e11786248231fbf';

/** After a reboot. */
export const enabled: readonly Check[] = [
  {
    title: 'an enabled machine is up after the boot, started once',
    see: async () => {
      await until(async () => {
        const state = await system(...words('systemctl show --property=ActiveState --value'), unitOf('one'));
        assert.notEqual(state, 'failed');
        return state === 'active' || undefined;
      }, 'machine one is up');
      const journal = words('journalctl --boot --no-pager --quiet --output=cat');
      const started = await system(...journal, `UNIT=${unitOf('one')}.service`, startedMessage);
      assert.equal(started.split('\n').length, 1, started);
      return `${started}, ${await whoAnswers('127.0.0.1', 8080)}`;
    },
  },
  {
    title: 'machine stop',
    see: async () => {
      await machine('stop one');
      const { out } = await spawnlet(...words('machine ls'));
      assert.match(out, /^one +stopped /m);
      return out;
    },
  },
  {
    title: 'machine rm leaves nothing',
    see: async () => {
      await machine('rm one');
      const left = (await traces()).filter(line => /\bone\b|nspawn@|spawnlet0|-nat\b|\/network\//.test(line));
      assert.deepEqual(left, []);
      return 'nothing';
    },
  },
];
