// runs in a lab: bookworm trixie +containernetworking-plugins +nftables +docker-registry
// Fields of a pod, read back from inside its containers.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { debianImage, done, eventually, type Fixture, system, useImages } from '../app/tools.ts';
import { startRegistry } from '../harness/registry.ts';
import { apply, isReady, podNamed, podOf, remove, type TestAgent, until, useAgent } from './agent.ts';

let images: Fixture;
let agent: TestAgent;
const image = 'localhost/images:deb';

before(async () => {
  images = await useImages({ deb: debianImage() });
  agent = await useAgent();
});

after(async () => {
  await agent[Symbol.asyncDispose]();
  await images[Symbol.asyncDispose]();
});

const waitingFor = (reason: string) => (status: NonNullable<Awaited<ReturnType<typeof until>>['status']>) =>
  status.containerStatuses?.[0]?.state?.waiting?.reason === reason;

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
  assert.match(agent.said(), /FailedToRetrieveImagePullSecret: Unable to retrieve .* \(absent\)/);

  // The first is for another path, and the second is not who the registry knows.
  await apply('elsewhere', secret('elsewhere', `${registry.host}/public`));
  await apply('former', secret('former', `${registry.host}/private`, 'b2xk'));
  await apply('key', secret('key', `http://${registry.host}/v2/`));
  await apply('let-in', pod('let-in', 'elsewhere', 'former', 'key'));
  await until('let-in', 'is ready', isReady);
  const places = '/run/systemd /run/spawnlet /var/lib/spawnlet /proc/[0-9]*/cmdline';
  const held = `grep -rlas -e ${login.password} -e ${auth} ${places}; journalctl --namespace='*' -a | grep -c -e ${login.password} -e ${auth}; :`;
  assert.equal(await system('sh', '-c', held.replaceAll(/(?<=-e )./g, '[$&]')), '0\n');
  for (const text of [login.password, auth]) assert.ok(!agent.said().includes(text));
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
  const forever = 'trap "exit 0" TERM; while :; do sleep 0.05; done';
  const container = (name: string, script: string) => ({
    name,
    image,
    command: ['sh', '-c', script],
    securityContext: { capabilities: { add: ['SYS_PTRACE'] } },
  });
  const left = '(sleep 1234 &) ; sleep 0.3; exit 7';
  await apply(
    'shared',
    podOf('shared', [container('main', forever), container('other', left)], {
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
  assert.match(all, /trap "exit 0" TERM/);
  assert.doesNotMatch(all, /\) Z|1234/);
  const unit = `pod-default-shared-${metadata?.uid}.service`;
  const anchor = (await system('systemctl', 'show', '-P', 'MainPID', unit)).trim();
  await remove('shared');
  await eventually(async () => (await podNamed('shared')) === undefined, 'the pod is gone');
  assert.equal(await system('sh', '-c', `ls -d /proc/${anchor} /run/spawnlet/pods/* 2>/dev/null; :`), '');
  assert.ok(main?.state?.running);
});
