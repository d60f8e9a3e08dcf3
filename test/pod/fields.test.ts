// runs in a lab: trixie +containernetworking-plugins +nftables
// Fields of a pod's specification, many at a time, read back from inside its containers.
import assert from 'node:assert/strict';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { test } from 'node:test';
import { done, system } from '../app/tools.ts';
import { apply, forever, image, isReady, podNamed, podOf, remove, until, useHost } from './agent.ts';
import { mounts, volumes } from './every-volume.ts';

useHost();

const container = (name: string, more: object = {}) => ({
  name,
  image,
  command: ['sh', '-c', forever],
  ...more,
});

const object = (kind: string, name: string, rest: object) => ({
  apiVersion: 'v1',
  kind,
  metadata: { name },
  ...rest,
});

/** What a script says in a pod's container, the first one if none is named. */
const inside = (pod: string, script: string, name?: string) =>
  done(['pod', 'exec', ...(name === undefined ? [] : ['-c', name]), pod, '--', 'sh', '-c', script]);

/** Applies a pod and gives it when it is ready. */
async function ready(
  name: string,
  ...rest: Parameters<typeof podOf> extends [string, ...infer R] ? R : never
) {
  await apply(name, podOf(name, ...rest));
  return await until(name, 'is ready', isReady);
}

const field = (fieldPath: string, apiVersion = 'v1') => ({
  valueFrom: { fieldRef: { apiVersion, fieldPath } },
});
const resource = (name: string, divisor: string, containerName?: string) => ({
  valueFrom: { resourceFieldRef: { resource: name, divisor, ...(containerName && { containerName }) } },
});

test('variables, words and the working directory are what the manifest has them be', async () => {
  await apply('settings', object('ConfigMap', 'settings', { data: { colour: 'red', size: 'xl' } }));
  await apply('login', object('Secret', 'login', { stringData: { user: 'me', password: 'secret' } }));
  const given: Record<string, object> = {
    PLAIN: { value: 'plain' },
    JOINED: { value: '$(PLAIN)-$(from_colour) $$(PLAIN) $(NONE)' },
    COLOUR: { valueFrom: { configMapKeyRef: { name: 'settings', key: 'colour' } } },
    PASSWORD: { valueFrom: { secretKeyRef: { name: 'login', key: 'password' } } },
    NO_COLOUR: { valueFrom: { configMapKeyRef: { name: 'none', key: 'colour', optional: true } } },
    NO_PASSWORD: { valueFrom: { secretKeyRef: { name: 'login', key: 'none', optional: true } } },
    FILED: { valueFrom: { fileKeyRef: { volumeName: 'written', path: 'env/file', key: 'FILED' } } },
    NOT_FILED: {
      valueFrom: { fileKeyRef: { volumeName: 'written', path: 'env/file', key: 'NONE', optional: true } },
    },
    NAME: field('metadata.name'),
    NAMESPACE: field('metadata.namespace'),
    UID_OF_POD: field('metadata.uid'),
    LABEL: field("metadata.labels['tier']"),
    ANNOTATION: field("metadata.annotations['note']"),
    NODE: field('spec.nodeName'),
    ACCOUNT: field('spec.serviceAccountName'),
    POD_IP: field('status.podIP'),
    HOST_IP: field('status.hostIP'),
    CPU: resource('limits.cpu', '1m'),
    MEMORY: resource('requests.memory', '1Mi'),
    OTHER: resource('limits.memory', '1Mi', 'other'),
  };
  const { metadata, status } = await ready(
    'told',
    [
      container('main', {
        command: ['sh', '-c', 'echo "$0 $1 in $PWD" >/tmp/words; exec sleep 1000'],
        args: ['$(PLAIN)', '$(COLOUR)!'],
        workingDir: '/var/log',
        env: Object.entries(given).map(([name, each]) => ({ name, ...each })),
        envFrom: [
          { prefix: 'from_', configMapRef: { name: 'settings', optional: false } },
          { secretRef: { name: 'login' } },
          { configMapRef: { name: 'absent', optional: true } },
          { secretRef: { name: 'absent', optional: true } },
        ],
        resources: { limits: { cpu: '250m', memory: '64Mi' }, requests: { cpu: '100m', memory: '32Mi' } },
      }),
      container('other', { resources: { limits: { memory: '48Mi' } } }),
    ],
    {
      serviceAccountName: 'robot',
      serviceAccount: 'robot',
      automountServiceAccountToken: false,
      enableServiceLinks: true,
      initContainers: [
        container('writer', {
          command: ['sh', '-c', `mkdir /written/env; echo "FILED='from a file'" >/written/env/file`],
          volumeMounts: [{ name: 'written', mountPath: '/written' }],
        }),
      ],
      volumes: [{ name: 'written', emptyDir: {} }],
    },
    { labels: { tier: 'front' }, annotations: { note: 'a note' } },
  );
  const environ = await inside('told', 'cat /proc/1/environ');
  const seen = Object.fromEntries(environ.split('\0').map(line => line.split(/=(.*)/s).slice(0, 2)));
  const expected = {
    PLAIN: 'plain',
    JOINED: 'plain-red $(PLAIN) $(NONE)',
    COLOUR: 'red',
    PASSWORD: 'secret',
    FILED: 'from a file',
    NAME: 'told',
    NAMESPACE: 'default',
    UID_OF_POD: metadata?.uid,
    LABEL: 'front',
    ANNOTATION: 'a note',
    NODE: (await system('uname', '-n')).trim(),
    ACCOUNT: 'robot',
    POD_IP: status?.podIP,
    HOST_IP: status?.hostIP,
    CPU: '250',
    MEMORY: '32',
    OTHER: '48',
    from_colour: 'red',
    from_size: 'xl',
    user: 'me',
    password: 'secret',
  };
  assert.deepEqual({ ...seen, ...expected }, seen);
  for (const name of ['NO_COLOUR', 'NO_PASSWORD', 'NOT_FILED', 'colour']) assert.ok(!(name in seen), name);
  assert.equal(await inside('told', 'cat /tmp/words'), 'plain red! in /var/log\n');
  await Promise.all(['told', 'settings', 'login'].map(remove));
});

test('files of volumes have the names, modes and contents that are asked for, and each mount its part', async () => {
  await apply(
    'settings',
    object('ConfigMap', 'settings', { data: { a: 'A', b: 'B' }, binaryData: { c: 'AP8=' }, immutable: true }),
  );
  await apply(
    'login',
    object('Secret', 'login', {
      type: 'Opaque',
      data: { key: 'a2V5' },
      stringData: { word: 'w' },
      immutable: true,
    }),
  );
  await apply(
    'kept',
    object('PersistentVolumeClaim', 'kept', {
      spec: {
        accessModes: ['ReadWriteOnce'],
        volumeMode: 'Filesystem',
        resources: { requests: { storage: '1Mi' }, limits: { storage: '2Mi' } },
      },
    }),
  );
  await mkdir('/srv/host', { recursive: true });
  await writeFile('/srv/host/file', 'of the host');
  await ready(
    'volumes',
    [
      container('main', {
        volumeMounts: mounts,
        env: [{ name: 'POD_NAME', ...field('metadata.name') }],
        resources: { limits: { cpu: '125m' } },
      }),
    ],
    { volumes, securityContext: { fsGroup: 3000, fsGroupChangePolicy: 'Always' } },
    { labels: { a: 'b' } },
  );
  const files =
    'config/a config/c part/deep/one secret/k down/labels down/cpu all/from/config all/from/secret all/from/name host';
  const listing = await inside('volumes', `cd /; stat -Lc '%n %a' ${files}; cat ${files} | od -An -c -v`);
  assert.deepEqual(listing.split('\n').slice(0, 10), [
    'config/a 440',
    'config/c 440',
    'part/deep/one 440',
    'secret/k 444',
    'down/labels 640',
    'down/cpu 444',
    'all/from/config 644',
    'all/from/secret 640',
    'all/from/name 640',
    'host 644',
  ]);
  const content = listing.split('\n').slice(10).join('').replaceAll(/\s/g, '');
  assert.equal(content, String.raw`A\0377Akeya="b"125Bwvolumesofthehost`);
  assert.equal(
    await inside('volumes', 'ls /none /no-secret /part'),
    '/no-secret:\n\n/none:\n\n/part:\ndeep\n',
  );
  assert.match(
    await inside('volumes', 'for d in sealed locked; do echo x 2>&1 >/$d/file || :; done'),
    /^(.*Read-only file system\n){2}$/,
  );
  await inside('volumes', 'echo kept >/sub/file; echo own >/own/file; : >/made/file');
  assert.equal(await inside('volumes', 'cat /claim/of-volumes/file /own/file'), 'kept\nown\n');
  assert.match(
    await inside('volumes', 'dd if=/dev/zero of=/fast/x bs=1M count=3 2>&1 || :'),
    /No space left/,
  );
  const claims = '/var/lib/spawnlet/volumes/default';
  assert.equal(
    await system('sh', '-c', `cat ${claims}/kept/of-volumes/file; ls /srv/host`),
    'kept\nfile\nmade\n',
  );
  await Promise.all(['volumes', 'settings', 'login', 'kept'].map(remove));
  await rm('/srv/host', { recursive: true });
});

test('a pod has the names, aliases and name servers that it asks for', async () => {
  await ready('named', [container('main')], {
    hostname: 'host',
    subdomain: 'sub',
    setHostnameAsFQDN: true,
    hostAliases: [{ ip: '10.1.2.3', hostnames: ['one.example', 'two.example'] }],
    dnsPolicy: 'None',
    dnsConfig: {
      nameservers: ['10.9.8.7'],
      searches: ['a.example', 'b.example'],
      options: [{ name: 'ndots', value: '3' }, { name: 'edns0' }],
    },
  });
  const names = await inside(
    'named',
    'uname -n; cat /etc/hostname /etc/resolv.conf; perl -MSocket -e \'print inet_ntoa(inet_aton("two.example"))\'',
  );
  assert.equal(
    names,
    'host.sub.default.svc.cluster.local\nhost.sub.default.svc.cluster.local\nnameserver 10.9.8.7\nsearch a.example b.example\noptions ndots:3 edns0\n10.1.2.3',
  );
  await ready('other-name', [container('main')], { hostnameOverride: 'quite-another.example' });
  assert.equal(await inside('other-name', 'uname -n'), 'quite-another.example\n');
  await Promise.all(['named', 'other-name'].map(remove));
});

const namespaces = (...kinds: readonly string[]) =>
  kinds.map(kind => `readlink /proc/self/ns/${kind}`).join('; ');

test('a pod has namespaces of its own, or the host’s where it asks for them; its containers share memory', async () => {
  const own = ['net', 'pid', 'ipc', 'uts'];
  const ofHost = await system('sh', '-c', namespaces(...own));
  await ready('alone', [container('main'), container('other')], {
    securityContext: {
      sysctls: [
        { name: 'net.ipv4.ip_unprivileged_port_start', value: '70' },
        { name: 'net.ipv4.ping_group_range', value: '0 7' },
      ],
    },
  });
  const [first, second] = [
    await inside('alone', namespaces(...own)),
    await inside('alone', namespaces(...own), 'other'),
  ].map(text => text.trim().split('\n'));
  const host = ofHost.trim().split('\n');
  for (const [index, kind] of own.entries()) assert.notEqual(first?.[index], host[index], kind);
  assert.deepEqual([first?.[0], first?.[2]], [second?.[0], second?.[2]]);
  assert.notEqual(first?.[1], second?.[1]);
  assert.equal(
    await inside(
      'alone',
      'cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/net/ipv4/ping_group_range',
    ),
    '70\n0\t7\n',
  );
  await inside('alone', "perl -e 'shmget(42, 4096, 01666) // die'");
  assert.match(await inside('alone', 'cat /proc/sysvipc/shm', 'other'), /^ +42 /m);
  await ready('open', [container('main')], {
    hostNetwork: true,
    hostPID: true,
    hostIPC: true,
    hostUsers: true,
  });
  const open = (await inside('open', namespaces('net', 'pid', 'ipc', 'user'))).trim().split('\n');
  assert.deepEqual(
    open,
    (await system('sh', '-c', namespaces('net', 'pid', 'ipc', 'user'))).trim().split('\n'),
  );
  await Promise.all(['alone', 'open'].map(remove));
});

test('what a container may do follows from its security context, and that of its pod', async () => {
  const profiles = '/var/lib/kubelet/seccomp';
  await mkdir(`${profiles}/mine`, { recursive: true });
  const refuse = { names: ['mkdir', 'mkdirat'], action: 'SCMP_ACT_ERRNO' };
  const profile = {
    defaultAction: 'SCMP_ACT_ALLOW',
    architectures: ['SCMP_ARCH_X86_64', 'SCMP_ARCH_AARCH64'],
    syscalls: [refuse],
  };
  await writeFile(`${profiles}/mine/no-mkdir.json`, JSON.stringify(profile));
  const secure = (name: string, securityContext: object) => container(name, { securityContext });
  await ready(
    'secured',
    [
      secure('plain', {}),
      secure('own', {
        runAsUser: 1000,
        runAsGroup: 1001,
        runAsNonRoot: true,
        allowPrivilegeEscalation: false,
        readOnlyRootFilesystem: true,
        procMount: 'Default',
      }),
      secure('caps', { runAsUser: 0, capabilities: { drop: ['ALL'], add: ['CHOWN'] } }),
      secure('all', { runAsUser: 0, privileged: true }),
      secure('open', { seccompProfile: { type: 'Unconfined' } }),
      secure('local', {
        runAsUser: 0,
        seccompProfile: { type: 'Localhost', localhostProfile: 'mine/no-mkdir.json' },
      }),
    ],
    {
      securityContext: {
        runAsUser: 5000,
        runAsGroup: 5001,
        supplementalGroups: [6000],
        supplementalGroupsPolicy: 'Strict',
        seccompProfile: { type: 'RuntimeDefault' },
      },
    },
  );
  const status = async (name: string) => {
    const text = await inside('secured', 'cat /proc/1/status', name);
    return (key: string) => new RegExp(`^${key}:\\s*(.*?)\\s*$`, 'm').exec(text)?.[1]?.split(/\s/)[0] ?? '';
  };
  const [plain, own, caps, all, open] = await Promise.all(
    ['plain', 'own', 'caps', 'all', 'open'].map(status),
  );
  assert.deepEqual(
    ['Uid', 'Gid', 'NoNewPrivs', 'Seccomp'].map(key => plain?.(key)),
    ['5000', '5001', '0', '2'],
  );
  assert.match(await inside('secured', 'id', 'plain'), /groups=5001,6000$/m);
  assert.deepEqual(
    ['Uid', 'Gid', 'NoNewPrivs'].map(key => own?.(key)),
    ['1000', '1001', '1'],
  );
  assert.match(await inside('secured', 'echo 2>&1 >/file || :', 'own'), /Read-only file system/);
  assert.doesNotMatch(await inside('secured', 'cat /proc/timer_list 2>&1 || :', 'caps'), /expires/);
  assert.deepEqual([caps?.('CapBnd'), caps?.('CapEff')], ['0000000000000001', '0000000000000001']);
  // The lab has filters of its own.
  const ofLab = await system('cat', '/proc/1/status');
  const valueOf = (key: string) => new RegExp(`^${key}:\\s*(\\S+)`, 'm').exec(ofLab)?.[1];
  const filters = [all, open].map(each => each?.('Seccomp_filters'));
  assert.deepEqual(
    [all?.('CapEff'), ...filters],
    ['CapBnd', 'Seccomp_filters', 'Seccomp_filters'].map(valueOf),
  );
  assert.ok(Number(plain?.('Seccomp_filters')) > Number(filters[0]));
  assert.match(await inside('secured', 'mkdir /tmp/x 2>&1 || :', 'local'), /Operation not permitted/);
  assert.equal(await inside('secured', 'mkdir /tmp/x && echo made', 'plain'), 'made\n');
  await remove('secured');
  await rm(profiles, { recursive: true });
});

test('limits of a pod and of its containers are those of its units, and its class is told', async () => {
  const amounts = { limits: { cpu: '500m', memory: '96Mi' }, requests: { cpu: '500m', memory: '96Mi' } };
  const { metadata, status } = await ready(
    'sized',
    [
      container('main', {
        resources: { limits: { memory: '64Mi' }, requests: { memory: '64Mi', cpu: '100m' } },
      }),
    ],
    {
      resources: amounts,
      os: { name: 'linux' },
      runtimeClassName: 'crun',
      priority: 7,
      readinessGates: [],
    },
  );
  assert.equal(status?.qosClass, 'Guaranteed');
  const uid = metadata?.uid ?? '';
  const limit = async (unit: string) =>
    Number(await system('systemctl', 'show', '-P', 'MemoryMax', unit)) >> 20;
  assert.equal(await limit(`kubepods-pod${uid.replaceAll('-', '_')}.slice`), 96);
  assert.equal(await limit(`pod-default-sized-main-${uid}.service`), 64);
  assert.equal((await podNamed('sized'))?.spec?.priority, 7);
  await ready('gated-not', [container('main')]);
  await apply(
    'gated',
    podOf('gated', [container('main')], { readinessGates: [{ conditionType: 'example.org/gate' }] }),
  );
  const gated = await until('gated', 'has all of its containers', ({ conditions = [] }) =>
    conditions.some(({ type, status: is }) => type === 'ContainersReady' && is === 'True'),
  );
  const condition = gated.status?.conditions?.find(({ type }) => type === 'Ready');
  assert.deepEqual([condition?.status, condition?.reason], ['False', 'ReadinessGatesNotReady']);
  await Promise.all(['sized', 'gated-not', 'gated'].map(remove));
});
