// runs in a lab: bookworm trixie +containernetworking-plugins +nftables
// Volumes of pods, read back from inside their containers.
import assert from 'node:assert/strict';
import { mkdir, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { test } from 'node:test';
import { debianImage, eventually, system } from '../app/tools.ts';
import {
  apply,
  eventsOf,
  forever,
  gone,
  image,
  inside,
  isReady,
  podNamed,
  podOf,
  remove,
  until,
  useHost,
} from './agent.ts';

useHost({
  images: () => ({ data: debianImage({}, [{ path: 'data/page', content: 'from an image\n' }]) }),
  begin,
});

async function begin(): Promise<void> {
  // They are looked at every ten seconds: the last test waits for less than that.
  const scratch = [{ name: 'scratch', emptyDir: { sizeLimit: '1Mi' } }];
  const resources = { limits: { 'ephemeral-storage': '1Mi' } };
  const fill = (path: string) => `dd if=/dev/zero of=${path} bs=1M count=2; ${forever}`;
  const container = (path: string) => ({ name: 'main', image, command: ['sh', '-c', fill(path)] });
  const volumeMounts = [{ name: 'scratch', mountPath: '/scratch' }];
  await apply('full', podOf('full', [{ ...container('/scratch/a'), volumeMounts }], { volumes: scratch }));
  await apply('wide', podOf('wide', [{ ...container('/a'), resources }]));
}

const object = (kind: string, name: string, rest: object) => ({
  apiVersion: 'v1',
  kind,
  metadata: { name },
  ...rest,
});

const withVolumes = (
  name: string,
  volumes: readonly object[],
  volumeMounts: readonly object[],
  spec: object = {},
) =>
  podOf(name, [{ name: 'main', image, command: ['sh', '-c', forever], volumeMounts }], { volumes, ...spec });

test('ConfigMaps and Secrets are files, which change without a restart, and variables', async () => {
  await apply('settings', object('ConfigMap', 'settings', { data: { colour: 'red', old: 'x' } }));
  await apply('login', object('Secret', 'login', { stringData: { password: 'a-secret' } }));
  const env = [
    { name: 'COLOUR', valueFrom: { configMapKeyRef: { name: 'settings', key: 'colour' } } },
    { name: 'PASSWORD', valueFrom: { secretKeyRef: { name: 'login', key: 'password' } } },
  ];
  const pod = withVolumes(
    'files',
    [
      { name: 'conf', configMap: { name: 'settings' } },
      { name: 'cred', secret: { secretName: 'login', defaultMode: 0o400 } },
      { name: 'me', downwardAPI: { items: [{ path: 'name', fieldRef: { fieldPath: 'metadata.name' } }] } },
    ],
    [
      { name: 'conf', mountPath: '/conf' },
      { name: 'cred', mountPath: '/cred' },
      { name: 'me', mountPath: '/me' },
    ],
  ) as { spec: { containers: object[] } };
  const [main = {}] = pod.spec.containers;
  await apply('files', { ...pod, spec: { ...pod.spec, containers: [{ ...main, env }] } });
  const { metadata, status } = await until('files', 'is ready', isReady);
  assert.equal(await inside('files', 'cat /conf/colour /cred/password /me/name'), 'reda-secretfiles');
  assert.equal(
    await inside('files', 'stat -Lc %a /cred/password; echo $COLOUR $PASSWORD'),
    '400\nred a-secret\n',
  );
  const kept = `/var/lib/spawnlet/pods/${metadata?.uid}/volumes`;
  assert.match(await system('findmnt', '-no', 'FSTYPE', '--target', `${kept}/secret/cred`), /^tmpfs$/m);
  await apply('settings', object('ConfigMap', 'settings', { data: { colour: 'blue', neu: 'y' } }));
  await eventually(
    async () =>
      (await inside('files', 'cat /conf/colour; ls /conf')) === 'bluecolour\nneu\n' ? true : undefined,
    'the files have changed',
  );
  const later = await podNamed('files');
  assert.deepEqual(
    later?.status?.containerStatuses?.[0]?.containerID,
    status?.containerStatuses?.[0]?.containerID,
  );
  await remove('files');
  await gone('files');
  assert.equal(await system('sh', '-c', `findmnt -ln -o TARGET | grep ${metadata?.uid} || :`), '');
});

test('an object that is missing keeps a container waiting until it is there', async () => {
  const env = [{ name: 'X', valueFrom: { configMapKeyRef: { name: 'later', key: 'x' } } }];
  await apply(
    'waits',
    podOf('waits', [{ name: 'main', image, env, command: ['sh', '-c', `echo $X; ${forever}`] }]),
  );
  const { status } = await until(
    'waits',
    'waits',
    ({ containerStatuses: [only] = [] }) => only?.state?.waiting?.reason === 'CreateContainerConfigError',
  );
  assert.match(status?.containerStatuses?.[0]?.state?.waiting?.message ?? '', /configmap "later" not found/);
  await apply('later', object('ConfigMap', 'later', { data: { x: 'here' } }));
  await until('waits', 'is ready', isReady);
  await Promise.all([remove('waits'), remove('later')]);
});

test('emptyDirs are shared, sized in memory, and go with the pod; claims and paths of the host stay', async () => {
  await mkdir('/srv/shared', { recursive: true });
  await writeFile('/srv/shared/file', 'of the host\n');
  await apply(
    'data',
    object('PersistentVolumeClaim', 'data', {
      spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Mi' } } },
    }),
  );
  const volumes = [
    { name: 'scratch', emptyDir: {} },
    { name: 'fast', emptyDir: { medium: 'Memory', sizeLimit: '1Mi' } },
    { name: 'host', hostPath: { path: '/srv/shared', type: 'Directory' } },
    { name: 'claim', persistentVolumeClaim: { claimName: 'data' } },
    { name: 'picture', image: { reference: 'localhost/images:data', pullPolicy: 'Never' } },
  ];
  const mounts = [
    { name: 'scratch', mountPath: '/scratch' },
    { name: 'fast', mountPath: '/fast' },
    { name: 'host', mountPath: '/host', readOnly: true },
    { name: 'claim', mountPath: '/claim' },
    { name: 'picture', mountPath: '/picture' },
    { name: 'scratch', mountPath: '/part', subPath: 'a/b' },
  ];
  await apply('disks', withVolumes('disks', volumes, mounts, { securityContext: { fsGroup: 2000 } }));
  const { metadata } = await until('disks', 'is ready', isReady);
  assert.equal(await inside('disks', 'cat /host/file /picture/data/page'), 'of the host\nfrom an image\n');
  assert.match(await inside('disks', 'echo x > /host/no 2>&1 || echo refused'), /refused/);
  assert.match(
    await inside('disks', 'dd if=/dev/zero of=/fast/big bs=1M count=2 2>&1 || :'),
    /No space left/,
  );
  await inside('disks', 'echo part > /part/file; echo kept > /claim/file');
  assert.equal(await inside('disks', 'cat /scratch/a/b/file; stat -c %g /scratch'), 'part\n2000\n');
  await remove('disks');
  await gone('disks');
  assert.equal(
    await system('cat', '/srv/shared/file', '/var/lib/spawnlet/volumes/default/data/file'),
    'of the host\nkept\n',
  );
  assert.equal(await system('sh', '-c', `findmnt -ln -o TARGET | grep ${metadata?.uid} || :`), '');
  await remove('data');
  await rm('/srv/shared', { recursive: true });
});

test('a subPath that leads out of its volume by a link is refused', async () => {
  await mkdir('/srv/trap', { recursive: true });
  await symlink('/etc', '/srv/trap/out');
  const volumes = [{ name: 'host', hostPath: { path: '/srv/trap' } }];
  await apply('trap', withVolumes('trap', volumes, [{ name: 'host', mountPath: '/m', subPath: 'out' }]));
  const { status } = await until('trap', 'is refused', ({ containerStatuses: [only] = [] }) =>
    (only?.state?.waiting?.reason ?? '').endsWith('Error'),
  );
  assert.match(status?.containerStatuses?.[0]?.state?.waiting?.message ?? '', /out/);
  await remove('trap');
  await gone('trap');
  await rm('/srv/trap', { recursive: true });
});

test('a pod that keeps more on the disk than it may is evicted, and its volumes go', async () => {
  for (const [name, message] of [
    ['full', 'Usage of EmptyDir volume "scratch" exceeds the limit "1Mi". '],
    ['wide', 'Pod ephemeral local storage usage exceeds the total limit of containers 1Mi. '],
  ] as const) {
    const { status, metadata } = await until(name, 'has failed', ({ phase }) => phase === 'Failed');
    assert.deepEqual([status?.reason, status?.message], ['Evicted', message]);
    const disruption = status?.conditions?.find(({ type }) => type === 'DisruptionTarget');
    assert.deepEqual([disruption?.status, disruption?.reason], ['True', 'TerminationByKubelet']);
    const events = await eventsOf(name);
    assert.ok(events.includes('Evicted - x1') && events.includes('Killing main x1'), events.join(', '));
    const left = `/var/lib/spawnlet/pods/${metadata?.uid}/volumes`;
    await eventually(async () => (await readdir(left).catch(() => [])).length === 0, 'its volumes are gone');
    await remove(name);
  }
});
