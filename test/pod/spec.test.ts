// runs in a lab: bookworm trixie +containernetworking-plugins +nftables +docker-registry
// Fields of a pod, read back from inside its containers.
import assert from 'node:assert/strict';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { test } from 'node:test';
import { debianImage, done, eventually, spawnlet, system } from '../app/tools.ts';
import { startRegistry } from '../harness/registry.ts';
import { apply, image, isReady, podNamed, podOf, pods, remove, until, useHost } from './agent.ts';

const configuration = '/etc/spawnlet/kubelet.yaml';
const head = 'apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n';
const settings = `podCIDR: 10.99.0.0/24
clusterDNS: [10.99.0.53]
clusterDomain: example.org
podPidsLimit: 77
resolvConf: /etc/spawnlet/resolv.conf
crashLoopBackOff: {maxContainerRestartPeriod: 1s}
maxPods: 110
`;

const host = useHost({ flags: ['--config', configuration], prepare: configure });

async function configure(): Promise<void> {
  await mkdir('/etc/spawnlet', { recursive: true });
  await writeFile('/etc/spawnlet/resolv.conf', 'nameserver 10.77.0.9\nsearch of.this.file\n');
  await writeFile(configuration, `${head}${settings}`);
}

const waitingFor = (reason: string) => (status: NonNullable<Awaited<ReturnType<typeof until>>['status']>) =>
  status.containerStatuses?.[0]?.state?.waiting?.reason === reason;

test('what the configuration says is so in a pod, and what is wrong in one is told with its line', async () => {
  const pod = (name: string, script: string, more: object = {}) =>
    podOf(name, [{ name: 'main', image, command: ['sh', '-c', script] }], more);
  await apply('set', pod('set', 'exec sleep 1000'));
  const { metadata, status } = await until('set', 'is ready', isReady);
  assert.equal(status?.podIP, '10.99.0.2');
  assert.equal(
    await done(['pod', 'exec', 'set', 'cat', '/etc/resolv.conf']),
    'nameserver 10.99.0.53\nsearch default.svc.example.org svc.example.org example.org of.this.file\noptions ndots:5\n',
  );
  const slice = `kubepods-besteffort-pod${metadata?.uid?.replaceAll('-', '_')}.slice`;
  assert.equal(await system('systemctl', 'show', '-P', 'TasksMax', slice), '77\n');
  await apply('host-dns', pod('host-dns', 'exec cat /etc/resolv.conf', { dnsPolicy: 'Default' }));
  await until('host-dns', 'waits no longer than a second', ({ containerStatuses: [only] = [] }) => {
    return (only?.restartCount ?? 0) >= 3;
  });
  assert.match(await done(['pod', 'logs', 'host-dns']), /^nameserver 10\.77\.0\.9\nsearch of\.this\.file\n/);
  await writeFile('/etc/spawnlet/wrong.yaml', `${head}podCIDR: 10.99.0.0/24\nmaxPods: 7\n`);
  const { code, err } = await spawnlet(['kubelet', '--config', '/etc/spawnlet/wrong.yaml']);
  assert.equal(code, 125);
  assert.match(err, /\/etc\/spawnlet\/wrong\.yaml:4: maxPods is not supported.*ERR_CONFIGURATION/);
  await Promise.all([remove('set'), remove('host-dns')]);
});

test('a pod pulls with the Secrets that it names, and what they hold is written nowhere', async () => {
  const login = { username: 'puller', password: 'open-sesame-4711' };
  await using registry = await startRegistry({ login });
  const reference = await registry.push('private/app:1', debianImage());
  const auth = Buffer.from(`${login.username}:${login.password}`).toString('base64');
  const secret = (name: string, key: string, wrong = '') => ({
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { name },
    type: 'kubernetes.io/dockerconfigjson',
    stringData: { '.dockerconfigjson': JSON.stringify({ auths: { [key]: { auth: `${wrong}${auth}` } } }) },
  });
  const pod = (name: string, ...secrets: readonly string[]) =>
    podOf(name, [{ name: 'main', image: reference, command: ['sleep', '1000'] }], {
      imagePullSecrets: secrets.map(each => ({ name: each })),
    });

  await apply('locked', pod('locked', 'absent'));
  const locked = await until('locked', 'waits for its pull', waitingFor('ImagePullBackOff'));
  assert.match(
    locked.status?.containerStatuses?.[0]?.state?.waiting?.message ?? '',
    /^Back-off pulling image .*: ErrImagePull: .*it wants a user and a password/,
  );
  assert.match(host.agent.said(), /FailedToRetrieveImagePullSecret: Unable to retrieve .* \(absent\)/);

  // The first is for another path, and the second is not who the registry knows.
  await apply('elsewhere', secret('elsewhere', `${registry.host}/public`));
  await apply('former', secret('former', `${registry.host}/private`, 'b2xk'));
  await apply('key', secret('key', `http://${registry.host}/v2/`));
  await apply('let-in', pod('let-in', 'elsewhere', 'former', 'key'));
  await until('let-in', 'is ready', isReady);
  const places = '/run/systemd /run/spawnlet /var/lib/spawnlet /proc/[0-9]*/cmdline';
  const held = `grep -rlas -e ${login.password} -e ${auth} ${places}; journalctl --namespace='*' -a | grep -c -e ${login.password} -e ${auth}; :`;
  assert.equal(await system('sh', '-c', held.replaceAll(/(?<=-e )./g, '[$&]')), '0\n');
  for (const text of [login.password, auth]) assert.ok(!host.agent.said().includes(text));
  for (const name of ['locked', 'let-in', 'elsewhere', 'former', 'key']) await remove(name);
});

test('an image that is not to be pulled, or has no name that is one, is told as the kubelet has it', async () => {
  const main = (more: object) => [{ name: 'main', ...more }];
  await apply('never', podOf('never', main({ image: 'localhost/none:1', imagePullPolicy: 'Never' })));
  await apply('noname', podOf('noname', main({ image: 'localhost/No_Image:1' })));
  await until('never', 'is not pulled', waitingFor('ErrImageNeverPull'));
  await until('noname', 'has no image', waitingFor('InvalidImageName'));
  await Promise.all([remove('never'), remove('noname')]);
});

test('containers of a pod see each other, end as they would alone, and leave nothing behind', async () => {
  const container = (name: string, script: string) => ({
    name,
    image,
    command: ['sh', '-c', script],
    securityContext: { capabilities: { add: ['SYS_PTRACE'] } },
  });
  const left = '(sleep 1234 &) ; sleep 0.3; exit 7';
  await apply(
    'shared',
    podOf('shared', [container('main', 'exec sleep 4321'), container('other', left)], {
      shareProcessNamespace: true,
      restartPolicy: 'Never',
    }),
  );
  const { metadata, status } = await until('shared', 'has lost one', ({ containerStatuses: all = [] }) =>
    all.some(each => each.state?.terminated !== undefined),
  );
  const [main, other] = status?.containerStatuses ?? [];
  assert.deepEqual([other?.state?.terminated?.exitCode, other?.state?.terminated?.reason], [7, 'Error']);
  const inMain = (script: string) => done(['pod', 'exec', '-c', 'main', 'shared', '--', 'sh', '-c', script]);
  // PID 1 is none of them, has no privilege and no files, and what it inherits is reaped.
  assert.equal(
    await inMain('cat /proc/1/comm; echo /proc/1/root/* /proc/1/root/usr/*'),
    'sleep\n/proc/1/root/dev /proc/1/root/lib /proc/1/root/lib64 /proc/1/root/proc /proc/1/root/sys /proc/1/root/usr /proc/1/root/usr/*\n',
  );
  const first = await inMain('cat /proc/1/status');
  for (const line of [/^Uid:\t65535/m, /^CapBnd:\t0{16}$/m, /^NoNewPrivs:\t1$/m, /^Seccomp:\t2$/m])
    assert.match(first, line);
  await inMain('(true &)');
  const all = await inMain('cat /proc/[0-9]*/stat /proc/[0-9]*/cmdline');
  assert.match(all, /sleep\x004321/);
  assert.doesNotMatch(all, /\) Z|sleep\x001234/);
  const unit = `pod-default-shared-${metadata?.uid}.service`;
  const anchor = (await system('systemctl', 'show', '-P', 'MainPID', unit)).trim();
  await remove('shared');
  await eventually(async () => (await podNamed('shared')) === undefined, 'the pod is gone');
  assert.equal(
    await system('sh', '-c', `ls -d /proc/${anchor} /run/spawnlet/pods/${metadata?.uid} 2>/dev/null; :`),
    '',
  );
  assert.ok(main?.state?.running);
});

test('a pod has users of its own, whose root is nobody on the host, or is refused where mount(8) maps no IDs', async () => {
  const server = `perl -MIO::Socket -e '$s = IO::Socket::INET->new(LocalPort => 80, Listen => 5) or die; sleep 1000'`;
  const pod = (name: string, more: object = {}) =>
    podOf(
      name,
      [
        {
          name: 'main',
          image,
          command: ['sh', '-c', `echo begun > /dev/stdout; exec ${server}`],
          workingDir: '/made/for/it',
          readinessProbe: { tcpSocket: { port: 80 }, periodSeconds: 1 },
          volumeMounts: [
            { name: 'disk', mountPath: '/disk' },
            { name: 'memory', mountPath: '/memory' },
          ],
        },
        { name: 'other', image, command: ['sleep', '1000'], securityContext: { runAsUser: 1000 } },
      ],
      {
        hostUsers: false,
        securityContext: { fsGroup: 3000 },
        volumes: [
          { name: 'disk', emptyDir: {} },
          { name: 'memory', emptyDir: { medium: 'Memory' } },
        ],
        ...more,
      },
    );
  if (!(await system('mount', '--version')).includes('idmapping')) {
    await apply('users', pod('users'));
    await eventually(
      async () =>
        /FailedCreatePodSandBox: .*hostUsers: false needs a mount\(8\) that maps IDs/.test(host.agent.said()),
      'it is refused',
    );
    return remove('users');
  }
  await apply('users', pod('users'));
  await apply('others', pod('others', { shareProcessNamespace: true }));
  const firsts = [];
  for (const name of ['users', 'others']) {
    const { metadata } = await until(name, 'is ready', isReady);
    const inside = (script: string, container = 'main') =>
      done(['pod', 'exec', '-c', container, name, '--', 'sh', '-c', script]);
    assert.equal(
      await inside(
        'touch /new /disk/x /memory/x; stat -c "%u:%g %n" / /etc/hosts /made/for/it /new /disk/x /memory/x; echo /sys/class/net/*; ls /dev/mqueue',
      ),
      '0:0 /\n0:0 /etc/hosts\n0:0 /made/for/it\n0:0 /new\n0:3000 /disk/x\n0:3000 /memory/x\n' +
        '/sys/class/net/eth0 /sys/class/net/lo\n',
    );
    assert.match(await inside('id', 'other'), /^uid=1000\(app\) gid=1001\(app\)/);
    const [, first = '', count] = (await inside('cat /proc/self/uid_map')).trim().split(/\s+/).slice(-3);
    assert.ok(Number(first) >= 65_536 && Number(first) % 65_536 === 0 && count === '65536');
    const unit = `pod-default-${name}-main-${metadata?.uid}.service`;
    const owners = await system(
      'sh',
      '-c',
      `stat -c %u $(systemctl show -P MainPID ${unit} | xargs pgrep -P | sed 's,^,/proc/,')`,
    );
    assert.equal(owners, `${first}\n`);
    assert.equal(
      await system('stat', '-c', '%u', `/var/lib/spawnlet/pods/${metadata?.uid}/volumes/empty-dir/disk/x`),
      '0\n',
    );
    assert.match(await done(['pod', 'logs', '-c', 'main', name]), /^begun\n/);
    firsts.push(first);
  }
  assert.notEqual(firsts[0], firsts[1]);
  await Promise.all([remove('users'), remove('others')]);
  await eventually(
    async () => !(await pods()).some(({ spec }) => spec?.hostUsers === false),
    'they are gone',
  );
  assert.equal(
    await system('sh', '-c', 'ls /run/spawnlet-root; ls -d /run/spawnlet/pods/*/user 2>/dev/null; :'),
    '',
  );
});

test('a pod that names a profile of AppArmor is rejected where the kernel has none', async () => {
  // One that has it looks as if it had not.
  const enabled = '/sys/module/apparmor/parameters/enabled';
  await system('sh', '-c', `[ ! -e ${enabled} ] || mount --bind /dev/null ${enabled}`);
  const appArmorProfile = { type: 'Localhost', localhostProfile: 'mine' };
  await apply(
    'armoured',
    podOf('armoured', [{ name: 'main', image, command: ['sleep', '1000'] }], {
      securityContext: { appArmorProfile },
    }),
  );
  const { status } = await until('armoured', 'has failed', ({ phase }) => phase === 'Failed');
  assert.deepEqual(
    [status?.reason, status?.message, status?.containerStatuses?.[0]?.state?.running],
    ['AppArmor', 'Pod was rejected: Cannot enforce AppArmor: AppArmor is not enabled on the host', undefined],
  );
  await remove('armoured');
  await system('sh', '-c', `[ ! -e ${enabled} ] || umount ${enabled}`);
});

test('pods are in the network of the first file of a directory, by the plugins that it names', async () => {
  const directory = '/etc/cni/net.d';
  await mkdir(directory, { recursive: true });
  await host.agent.kill();
  host.agent.start('--cni-conf-dir', directory);
  const network = (name: string, plugin: object) =>
    writeFile(
      `${directory}/${name}.conflist`,
      JSON.stringify({ cniVersion: '0.4.0', name, plugins: [plugin] }),
    );
  const ipam = (net: number) => ({
    type: 'host-local',
    ranges: [[{ subnet: `10.${net}.0.0/24` }]],
    routes: [{ dst: '0.0.0.0/0' }],
  });
  const link = (await system('sh', '-c', 'ip -o -4 route get 10.77.0.1')).match(/ dev (\S+)/)?.[1];
  const pod = (name: string, more: object = {}) =>
    podOf(name, [{ name: 'main', image, command: ['sleep', '1000'], ...more }]);
  const begun = async (name: string) => {
    await apply(name, pod(name));
    const { status } = await until(name, 'is ready', isReady);
    const seen = await done(['pod', 'exec', name, '--', 'cat', '/proc/net/fib_trie']);
    assert.ok(seen.includes(`|-- ${status?.podIP}\n`), seen);
    return status?.podIP;
  };
  await network('30-bridge', { type: 'bridge', bridge: 'other0', isGateway: true, ipam: ipam(93) });
  assert.equal(await begun('bridged'), '10.93.0.2');
  await network('20-ptp', { type: 'ptp', ipam: ipam(92) });
  assert.equal(await begun('pointed'), '10.92.0.2');
  await system('ping', '-c1', '-W2', '10.92.0.2');
  await network('10-macvlan', { type: 'macvlan', master: link, mode: 'bridge', ipam: ipam(91) });
  assert.equal(await begun('direct'), '10.91.0.2');
  // It has no plugin that publishes, and a port is not left out silently.
  await apply('served', pod('served', { ports: [{ containerPort: 80, hostPort: 8080 }] }));
  await eventually(
    async () =>
      /FailedCreatePodSandBox: .*the network 10-macvlan takes no portMappings/.test(host.agent.said()),
    'the port is refused',
  );
  await writeFile(`${directory}/00-broken.conflist`, '{');
  await apply('broken', pod('broken'));
  await eventually(
    async () =>
      /FailedCreatePodSandBox: .*\/etc\/cni\/net\.d\/00-broken\.conflist: not JSON/.test(host.agent.said()),
    'a broken file is told',
  );
  const names = ['bridged', 'pointed', 'direct', 'served', 'broken'];
  await Promise.all(names.map(remove));
  await eventually(async () => (await pods()).length === 0, 'all pods go');
  await rm(directory, { recursive: true });
  await host.agent.kill();
  host.agent.start();
  assert.equal(await system('sh', '-c', 'ls /var/lib/cni/networks/* | grep -c "^10\\." ; :'), '0\n');
});
