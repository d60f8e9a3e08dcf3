import assert from 'node:assert/strict';
import { test } from 'node:test';
import { plainFacts } from '../../test/harness/machine-spec.ts';
import { gpuOf } from './host-facts.ts';
import type { HostFacts } from './lines.ts';
import { profileRows, unrolled } from './profiles.ts';
import { type ProfileName, profileNames } from './spec.ts';

const overlay = { ...plainFacts, tree: { kind: 'overlay' } } as const;
const of = (
  profiles: readonly ProfileName[],
  facts: { host: HostFacts; tree: typeof plainFacts.tree } = plainFacts,
) => unrolled({ name: 'web', profiles }, facts);
const texts = (profiles: readonly ProfileName[], facts?: typeof plainFacts) =>
  of(profiles, facts).lines.map(({ place, key, value }) => `${place} ${key}=${value}`);

test('the default profile adds nothing to what systemd-nspawn does', () => {
  assert.deepEqual(of(['default']), { capabilities: [], systemCalls: [], lines: [] });
});

test('nested has the system calls and files that runc, k3s and docker need, and one capability, to read the kernel log', () => {
  const { capabilities, systemCalls } = of(['default', 'nested']);
  assert.deepEqual([capabilities, systemCalls], [['CAP_SYSLOG'], ['@keyring', 'bpf']]);
  assert.deepEqual(texts(['default', 'nested']), [
    'Files Bind=/dev/kmsg',
    'Service DeviceAllow=/dev/kmsg rw',
    'Files BindReadOnly=/sys/module',
    'Files Inaccessible=/sys/module/apparmor',
    'Service Environment=SYSTEMD_NSPAWN_API_VFS_WRITABLE=network',
  ]);
});

test('what is hidden or shown of /sys/module is what the host has of it', () => {
  const modules = (value: HostFacts['modules']) =>
    texts(['nested'], { ...plainFacts, host: { ...plainFacts.host, modules: value } }).filter(line =>
      line.includes('/sys/module'),
    );
  assert.deepEqual(modules('none'), []);
  assert.deepEqual(modules('plain'), ['Files BindReadOnly=/sys/module']);
});

test('where the host has controllers of cgroup v1, a nested machine gets the v2 hierarchy', () => {
  const mixed = { ...plainFacts, host: { ...plainFacts.host, cgroups: 'mixed' } } as const;
  assert.ok(texts(['nested'], mixed).includes('Service Environment=SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1'));
});

test('on an overlay the stores of runtimes are plain directories of the host, elsewhere they are the tree’s own', () => {
  const stores = texts(['nested'], overlay).filter(line => line.includes('/store/'));
  assert.ok(stores.includes('Files Bind=/var/lib/spawnlet/machine/web/store/containerd:/var/lib/containerd'));
  assert.ok(stores.includes('Files Bind=/var/lib/spawnlet/machine/web/store/docker:/var/lib/docker'));
  assert.deepEqual(
    texts(['nested']).filter(line => line.includes('/store/')),
    [],
  );
});

test('profiles compose: words come once, and all capabilities are all', () => {
  const { capabilities, systemCalls } = of(['default', 'nested', 'ebpf', 'privileged']);
  assert.deepEqual(capabilities, ['all']);
  assert.deepEqual(systemCalls, ['@keyring', 'bpf', 'perf_event_open']);
  const twice = texts(['nested', 'nested']);
  assert.deepEqual(twice, [...new Set(twice)]);
});

test('kvm is refused without /dev/kvm, and takes of the rest what is there', () => {
  const without = { ...plainFacts, host: { ...plainFacts.host, devices: [] } };
  assert.throws(() => of(['kvm'], without), { code: 'ERR_MACHINE_PROFILE', message: /no \/dev\/kvm/ });
  assert.deepEqual(
    texts(['kvm']).filter(line => line.startsWith('Service')),
    ['Service DeviceAllow=/dev/kvm rwm', 'Service DeviceAllow=/dev/vhost-net rwm'],
  );
});

test('gpu is refused where no GPU was found', () => {
  const without = { ...plainFacts, host: { ...plainFacts.host, gpu: { nodes: [], libraries: [] } } };
  assert.throws(() => of(['gpu'], without), { code: 'ERR_MACHINE_PROFILE' });
  assert.ok(texts(['gpu']).includes('Files BindReadOnly=/usr/lib/libcuda.so.1'));
});

test('each line of each profile is shown with one sentence that says why', () => {
  const rows = profileRows();
  assert.deepEqual([...new Set(rows.map(row => row.profile))], profileNames);
  for (const { why, key } of rows) assert.match(why, /^\S.{20,}[^.]\.$/, key);
});

const files = [
  '/usr/lib/x86_64-linux-gnu/libcuda.so.1',
  '/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.535.1',
  '/usr/lib/x86_64-linux-gnu/libGLX_nvidia.so.0',
  '/usr/lib/x86_64-linux-gnu/libc.so.6',
  '/usr/lib/x86_64-linux-gnu/libcuda.so.1.txt',
  '/usr/bin/nvidia-smi',
];

test('of NVIDIA a machine gets the nodes, and the driver’s libraries and programs of the host', () => {
  assert.deepEqual(
    gpuOf({
      nodes: [
        '/dev/null',
        '/dev/nvidia0',
        '/dev/nvidiactl',
        '/dev/nvidia-uvm',
        '/dev/nvidia-caps/nvidia-cap1',
        '/dev/nvme0',
      ],
      drivers: {},
      files,
    }),
    {
      nodes: ['/dev/nvidia-caps/nvidia-cap1', '/dev/nvidia-uvm', '/dev/nvidia0', '/dev/nvidiactl'],
      libraries: [
        '/usr/bin/nvidia-smi',
        '/usr/lib/x86_64-linux-gnu/libGLX_nvidia.so.0',
        '/usr/lib/x86_64-linux-gnu/libcuda.so.1',
        '/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.535.1',
      ],
    },
  );
});

test('of AMD a machine gets KFD and the DRM nodes of its driver, and no library', () => {
  assert.deepEqual(
    gpuOf({
      nodes: ['/dev/kfd', '/dev/dri/card0', '/dev/dri/renderD128', '/dev/dri/renderD129', '/dev/dri/by-path'],
      drivers: { card0: 'amdgpu', renderD128: 'amdgpu', renderD129: 'i915' },
      files,
    }),
    { nodes: ['/dev/dri/card0', '/dev/dri/renderD128', '/dev/kfd'], libraries: [] },
  );
  assert.deepEqual(gpuOf({ nodes: [], drivers: {}, files }), { nodes: [], libraries: [] });
});
