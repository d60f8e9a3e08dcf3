// runs in a lab: bookworm trixie
// Volumes that are mounts, as containers have them, and what is left of them: nothing.
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rm, statfs, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, afterEach, beforeEach, describe, test } from 'node:test';
import { mountsBelow } from '../../src/host/mounts.ts';
import { layersDirectory, transientUnits } from '../../src/names.ts';
import type { Container, Pod, Volume, VolumeMount } from '../../src/pod/api/kubernetes.ts';
import { type MountFacts, mountsOf, planSubPaths } from '../../src/pod/volumes/mounts.ts';
import { podDirectory, volumeDirectory } from '../../src/pod/volumes/places.ts';
import { mountUnitsOf, planVolumes } from '../../src/pod/volumes/plan.ts';
import { mountUnitsThere, planVolumeRemoval } from '../../src/pod/volumes/removal.ts';
import { eventually, system } from '../app/tools.ts';
import { container, factsWith, podOf, uid } from '../harness/pod-volumes.ts';
import {
  apply,
  disconnect,
  host,
  killedAt,
  objects,
  pending,
  recover,
  remove,
  runIn,
  signal,
  systemd,
} from './volume-host.ts';

const facts = factsWith({ noswap: true, claims: new Map([['data', { kind: 'directory' }]]) });
const pod = podDirectory(uid);

objects.config('app', { conf: 'plain' }).hide('key', { pem: 'hidden' });

const everything: Volume[] = [
  { name: 'tmp', emptyDir: {} },
  { name: 'shm', emptyDir: { medium: 'Memory', sizeLimit: '1Mi' } },
  { name: 'conf', configMap: { name: 'app' } },
  { name: 'key', secret: { secretName: 'key' } },
  { name: 'data', persistentVolumeClaim: { claimName: 'data' } },
];

const place = (shelf: Parameters<typeof volumeDirectory>[1], name: string) =>
  volumeDirectory(uid, shelf, name);

/** Names of what there is of the pod on this host. */
async function remains(): Promise<string[]> {
  const units = (await readdir(transientUnits)).filter(name => name.includes('spawnlet-pods'));
  const mounts = existsSync(pod) ? mountsBelow(pod).map(({ path }) => path) : [];
  return [...units, ...mounts, ...(existsSync(pod) ? await readdir(pod, { recursive: true }) : [])];
}

let work = '';
beforeEach(async () => {
  work = await mkdtemp('/var/tmp/mounts-');
});
afterEach(async () => {
  await remove(uid);
  await rm(work, { recursive: true, force: true });
});
after(disconnect);

describe('a pod’s volumes', () => {
  test('are there once they are applied, and applying them again changes nothing', async () => {
    const steps = planVolumes(podOf(everything), facts);
    await apply(steps);
    assert.equal(await readFile(join(place('config', 'conf'), 'conf'), 'utf8'), 'plain');
    assert.equal(await readFile(join(place('secret', 'key'), 'pem'), 'utf8'), 'hidden');
    assert.deepEqual(await pending(steps), []);
  });

  test('in memory have no more than their size', async () => {
    await apply(planVolumes(podOf(everything), facts));
    const path = place('memory', 'shm');
    await writeFile(join(path, 'half'), Buffer.alloc(500_000));
    await assert.rejects(writeFile(join(path, 'more'), Buffer.alloc(800_000)), { code: 'ENOSPC' });
  });

  test('that are secret are on a tmpfs of their own, which is kept out of swap', async () => {
    await apply(planVolumes(podOf(everything), facts));
    const { type, blocks, bsize } = await statfs(place('secret', 'key'));
    assert.equal(type, 0x01021994);
    assert.equal(blocks * bsize, 8 * 1024 ** 2);
    assert.match(
      await system('findmnt', '-no', 'OPTIONS', join(pod, 'volumes/secret')),
      /nosuid,nodev.*noswap/,
    );
  });

  test('are units that systemd-analyze has nothing to say of, and that go with the pod’s target', async () => {
    const target = {
      do: 'write-file',
      path: `${transientUnits}/web.target`,
      content: '[Unit]\n',
      mode: 0o644,
    } as const;
    await apply([target, { do: 'start-unit', name: 'web.target' }, ...planVolumes(podOf(everything), facts)]);
    const units = mountUnitsOf(podOf(everything), facts);
    assert.equal(units.length, 2);
    for (const unit of units) {
      assert.equal(await system('systemd-analyze', 'verify', '--man=no', unit), '');
      const state = async () => (await systemd()).unitProperty(unit, 'ActiveState', signal);
      await eventually(async () => (await state()) === 'active', `${unit} is up`);
    }
    await apply([{ do: 'stop-unit', name: 'web.target' }], 'finish');
    await eventually(async () => mountsBelow(pod).length === 0, 'they are unmounted');
    await rm(target.path);
  });

  test('of an image are its layers upon each other, and cannot be written to', async () => {
    for (const [layer, text] of [
      ['one', 'lower'],
      ['two', 'upper'],
    ] as const) {
      await mkdir(`${layersDirectory}/${layer}`, { recursive: true });
      await writeFile(`${layersDirectory}/${layer}/file`, text);
      await writeFile(`${layersDirectory}/${layer}/${layer}`, '');
    }
    const volumes = [
      { name: 'both', image: { reference: 'i' } },
      { name: 'lower', image: { reference: 'i' } },
      { name: 'none', image: { reference: 'i' } },
    ];
    const images = new Map(Object.entries({ both: ['one', 'two'], lower: ['one'], none: [] }));
    await apply(planVolumes(podOf(volumes), factsWith({ images })));
    const file = (name: string) => readFile(join(place('image', name), 'file'), 'utf8');
    assert.equal(await file('both'), 'upper');
    assert.deepEqual((await readdir(place('image', 'both'))).sort(), ['file', 'one', 'two']);
    assert.equal(await file('lower'), 'lower');
    assert.deepEqual(await readdir(place('image', 'none')), []);
    await assert.rejects(writeFile(join(place('image', 'lower'), 'new'), ''), { code: 'EROFS' });
    await Promise.all(['one', 'two'].map(layer => rm(`${layersDirectory}/${layer}`, { recursive: true })));
  });

  test('of a server that cannot be mounted say so, by the unit’s name', async () => {
    const volume = { name: 'far', nfs: { server: '192.0.2.1', path: '/export' } };
    const [unit] = mountUnitsOf(podOf([volume]), facts);
    await assert.rejects(
      apply(planVolumes(podOf([volume]), facts)),
      (error: { code?: string; message: string }) => {
        assert.equal(error.code, 'ERR_UNIT_FAILED');
        assert.ok(error.message.includes(unit ?? '?'), error.message);
        return true;
      },
    );
    assert.deepEqual(await remains(), []);
  });
});

describe('the removal of a pod’s volumes', () => {
  const data = '/var/lib/spawnlet/volumes/shop/data';

  test('leaves nothing but what claims have, and may be done again', async () => {
    await apply(planVolumes(podOf(everything), facts));
    await writeFile(join(data, 'kept'), '');
    await remove(uid);
    assert.deepEqual(await remains(), []);
    assert.deepEqual(await readdir(data), ['kept']);
    await remove(uid);
  });

  test('unmounts what somebody has left mounted in them, and removes nothing of that', async () => {
    await apply(planVolumes(podOf(everything), facts));
    await writeFile(join(work, 'file'), 'of the host');
    const left = join(place('empty-dir', 'tmp'), 'left \\ here');
    await mkdir(left);
    await system('mount', '--bind', work, left);
    await mkdir(join(place('memory', 'shm'), 'deep'));
    await system('mount', '-t', 'tmpfs', 'left', join(place('memory', 'shm'), 'deep'));
    await writeFile(join(place('empty-dir', 'tmp'), 'conf'), '');
    await system('mount', '--bind', join(work, 'file'), join(place('empty-dir', 'tmp'), 'conf'));
    await remove(uid);
    assert.deepEqual(await remains(), []);
    assert.equal(await readFile(join(work, 'file'), 'utf8'), 'of the host');
  });

  test('removes nothing below a mount that stays, though it is of the same file system', async () => {
    await apply(planVolumes(podOf(everything), facts));
    await writeFile(join(work, 'file'), 'of the host');
    const left = join(place('empty-dir', 'tmp'), 'a/left');
    await mkdir(left, { recursive: true });
    await system('mount', '--bind', work, left);
    const tree = [{ do: 'remove-tree', path: join(pod, 'volumes') } as const];
    await assert.rejects(apply(tree, 'finish'), { code: 'ERR_MOUNTED' });
    assert.equal(await readFile(join(work, 'file'), 'utf8'), 'of the host');
    await remove(uid);
    assert.deepEqual(await remains(), []);
    assert.equal(await readFile(join(work, 'file'), 'utf8'), 'of the host');
  });
});

const partOf = (pod: Pod): Container => {
  const [first] = pod.spec?.containers ?? [];
  assert.ok(first);
  return first;
};

describe('an agent that is killed between any two steps', () => {
  const main = container('main', { name: 'tmp', mountPath: '/tmp', subPath: 'a' });
  const whole = podOf(everything, {
    containers: [
      main,
      container('other', ...everything.map(({ name }) => ({ name, mountPath: `/${name}` }))),
    ],
    securityContext: { fsGroup: 2000 },
  });
  const making = [...planVolumes(whole, facts), ...planSubPaths(whole, main, facts)];

  test('has made no volumes: the next one takes back what there is', async () => {
    let border = 1;
    for (; await killedAt(making, 'undo', border); border++) {
      await recover();
      assert.deepEqual(await remains(), [], `border ${border}`);
    }
    assert.ok(border > 30, `${border} borders`);
  });

  test('has removed all, or nothing: the next one goes on', async () => {
    for (let border = 1; ; border++) {
      await apply(making);
      const steps = planVolumeRemoval(uid, await mountUnitsThere(uid, host.files));
      const wasKilled = await killedAt(steps, 'finish', border);
      await recover();
      if (border > 1) assert.deepEqual(await remains(), [], `border ${border}`);
      if (!wasKilled) break;
    }
  });

  test('is followed by one that begins anew with what it finds', async () => {
    for (let border = 1; await killedAt(making, 'finish', border); border += 3) {
      // As if its journal was lost.
      await rm('/var/lib/spawnlet/journal-of-tests', { recursive: true, force: true });
      await apply(making);
      assert.equal(await readFile(join(place('secret', 'key'), 'pem'), 'utf8'), 'hidden');
      await remove(uid);
      assert.deepEqual(await remains(), [], `border ${border}`);
    }
  });
});

describe('a container', () => {
  /** Runs a script in the one container of a pod. */
  async function run(
    volume: Volume,
    mount: Partial<VolumeMount>,
    script: string,
    more: { readonly facts?: MountFacts; readonly capabilities?: readonly string[] } = {},
  ): Promise<string> {
    const main = container('main', { name: volume.name, mountPath: '/v', ...mount });
    const pod = podOf([volume], { containers: [main] });
    const all = more.facts ?? facts;
    await apply([...planVolumes(pod, all), ...planSubPaths(pod, partOf(pod), all)]);
    return runIn(mountsOf(pod, main, all), script, more.capabilities);
  }

  const hostPath = (): Volume => ({ name: 'h', hostPath: { path: work, type: 'Directory' } });
  const wait = (file: string) => `for try in {1..400}; do [ -e ${file} ] && break; sleep 0.05; done`;

  test('has its files, and cannot change them', async () => {
    const said = await run(
      { name: 'conf', configMap: { name: 'app' } },
      {},
      'cat /v/conf; echo; : > /v/conf || :; : > /v/new || :',
    );
    assert.match(said, /^plain\n.*Read-only file system\n.*Read-only file system\n$/s);
  });

  test('has the part of a volume that its subPath names, and nothing around it', async () => {
    await mkdir(join(work, 'a/b'), { recursive: true });
    await writeFile(join(work, 'a/beside'), '');
    const said = await run(
      hostPath(),
      { subPath: 'a/b' },
      'echo text > /v/file; ls /v /v/..| grep beside; echo done',
    );
    assert.equal(said, 'done\n');
    assert.equal(await readFile(join(work, 'a/b/file'), 'utf8'), 'text\n');
    const conf = { name: 'conf', configMap: { name: 'app' } };
    const file = await run(conf, { subPath: 'conf', mountPath: '/etc/app.conf' }, 'cat /etc/app.conf');
    assert.equal(file, 'plain');
  });

  test('with a read-only volume writes to what is mounted in it, unless it is so recursively', async () => {
    await mkdir(join(work, 'inner'));
    await system('mount', '-t', 'tmpfs', 'inner', join(work, 'inner'));
    try {
      const script = ': > /v/outer || echo no; : > /v/inner/file && echo yes || echo no';
      assert.match(await run(hostPath(), { readOnly: true }, script), /^.*Read-only.*\nno\nyes\n$/);
      await rm(join(work, 'inner/file'));
      const recursive = { readOnly: true, recursiveReadOnly: 'Enabled' };
      assert.match(await run(hostPath(), recursive, script), /^.*Read-only.*\nno\n.*Read-only.*\nno\n$/);
    } finally {
      await system('umount', join(work, 'inner'));
    }
  });

  test('sees what the host mounts later, with HostToContainer alone', async () => {
    await mkdir(join(work, 'late'));
    const script = `: > /v/ready; ${wait('/v/go')}; ls /v/late`;
    for (const [mountPropagation, seen] of [
      ['HostToContainer', 'file\n'],
      ['None', ''],
    ] as const) {
      const said = run(hostPath(), { mountPropagation }, script);
      await eventually(async () => existsSync(join(work, 'ready')), 'the container runs');
      await system('mount', '-t', 'tmpfs', 'late', join(work, 'late'));
      await writeFile(join(work, 'late/file'), '');
      await writeFile(join(work, 'go'), '');
      assert.equal(await said, seen, mountPropagation);
      await system('umount', join(work, 'late'));
      for (const name of ['ready', 'go']) await rm(join(work, name));
    }
  });

  test('shows the host what it mounts, with Bidirectional alone', async () => {
    await mkdir(join(work, 'made'));
    const script = 'mount -t tmpfs made /v/made && echo text > /v/made/file && echo mounted';
    const capabilities = ['CAP_SYS_ADMIN'];
    assert.equal(await run(hostPath(), { mountPropagation: 'None' }, script, { capabilities }), 'mounted\n');
    assert.deepEqual(await readdir(join(work, 'made')), []);
    const others = (await system('findmnt', '--noheadings', '--raw', '--output', 'TARGET')).split('\n');
    const said = await run(hostPath(), { mountPropagation: 'Bidirectional' }, script, { capabilities });
    assert.equal(said, 'mounted\n');
    assert.equal(await readFile(join(work, 'made/file'), 'utf8'), 'text\n');
    await system('umount', join(work, 'made'));
    const now = (await system('findmnt', '--noheadings', '--raw', '--output', 'TARGET')).split('\n');
    assert.deepEqual(
      now.filter(path => !others.includes(path)),
      [],
      'nothing else is on the host',
    );
  });
});
