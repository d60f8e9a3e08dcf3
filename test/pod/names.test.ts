// runs in a lab: bookworm trixie +containernetworking-plugins +nftables +conntrack
// Pods of one host find each other by name.
import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { after, test } from 'node:test';
import { done, eventually, lookUp, system } from '../app/tools.ts';
import { apply, container, forever, isReady, podOf, pods, remove, until, useHost } from './agent.ts';

/** What the host itself asks: it knows one name, and of all others that they are none. */
let resolvConf: string;

const host = useHost({ prepare: startUpstream });

async function startUpstream(): Promise<void> {
  resolvConf = await readFile('/etc/resolv.conf', 'utf8').catch(() => '');
  await writeFile('/tmp/upstream', 'local=/#/\naddress=/known.example.test/192.0.2.7\n');
  const flags = '--listen-address=127.0.0.1 --bind-interfaces --no-resolv --no-hosts --user=root';
  await system('sh', '-c', `dnsmasq --conf-file=/tmp/upstream --pid-file=/run/upstream.pid ${flags}`);
  await writeFile('/etc/resolv.conf', 'nameserver 127.0.0.1\n');
}

after(async () => {
  await system('sh', '-c', 'kill $(cat /run/upstream.pid); rm /tmp/upstream');
  await writeFile('/etc/resolv.conf', resolvConf);
});

const sleeps = container('main', forever);

async function addressOf(name: string, namespace: string): Promise<string> {
  return await eventually(
    async () =>
      (await pods()).find(({ metadata }) => metadata?.name === name && metadata.namespace === namespace)
        ?.status?.podIP,
    `${namespace}/${name} has an address`,
  );
}

/** What names stand for, in a pod. */
async function ask(pod: string, namespace: string, ...names: readonly string[]): Promise<string> {
  const script = 'for name; do perl -e "$0" "$name"; done';
  const argv = ['pod', 'exec', '-n', namespace, pod, '--', 'sh', '-c', script, lookUp, ...names];
  return (await done(argv)).trim();
}

test('pods find each other by name, namespace, hostname and subdomain, as they come and go', async () => {
  await apply('asks', podOf('asks', [sleeps]));
  await apply('db', podOf('db', [sleeps], { hostname: 'first', subdomain: 'dbs' }));
  await apply('other', podOf('other', [sleeps], {}, { namespace: 'shop' }));
  await apply('host', podOf('host', [sleeps], { dnsPolicy: 'Default' }));
  for (const name of ['asks', 'db', 'host']) await until(name, 'is ready', isReady);
  const [db, other] = [await addressOf('db', 'default'), await addressOf('other', 'shop')];
  assert.match(db, /^10\.88\./);
  const dashed = db.replaceAll('.', '-');
  const names = [
    'db',
    'db.default',
    'db.default.pod',
    'db.default.svc.cluster.local',
    'first.dbs',
    'first.dbs.default.svc.cluster.local',
    'dbs',
    `${dashed}.default.pod.cluster.local`,
  ];
  const all = names.map(() => db).join('\n');
  await eventually(async () => (await ask('asks', 'default', ...names)) === all, 'all names are those of db');
  // A name without a namespace is of one's own.
  assert.doesNotMatch(await ask('asks', 'default', 'other'), /^10\./);
  assert.equal(await ask('asks', 'default', 'other.shop'), other);
  assert.doesNotMatch(await ask('other', 'shop', 'db'), /^10\./);
  assert.equal(await ask('other', 'shop', 'db.default'), db);
  // The name servers of the host know nothing of pods.
  assert.doesNotMatch(await ask('host', 'default', 'db.default.svc.cluster.local'), /^10\./);
  await remove('db');
  await eventually(async () => !(await ask('asks', 'default', 'db')).startsWith('10.'), 'db is gone');
  // Its hardware address does not change with its ports (NET_ADDR_SET): pods would ask in vain until they forgot the former.
  assert.equal(await readFile('/sys/class/net/spawnlet1/addr_assign_type', 'utf8'), '3\n');
  assert.match(await system('ls', '/run/spawnlet/cni-nat/names'), /^(?:[0-9a-f-]{36}\n){3}$/);
});

test('questions for other names go to the name servers of the host, nobody else is asked for those of the cluster', async () => {
  const text = await done(['pod', 'exec', 'asks', '--', 'cat', '/etc/resolv.conf']);
  assert.match(text, /^nameserver 10\.88\.0\.1$/m);
  assert.match(text, /^search default\.svc\.cluster\.local svc\.cluster\.local cluster\.local/m);
  assert.match(text, /^options ndots:5$/m);
  assert.equal(await ask('asks', 'default', 'known.example.test'), '192.0.2.7');
  // Connection tracking may drop one of two questions that come at once: it is not asked.
  assert.equal(await system('sh', '-c', 'conntrack -L -p udp --dport 53 -d 10.88.0.1 2>/dev/null'), '');
  const unit = await system('systemctl', 'cat', 'spawnlet-pod-dns.service');
  assert.match(unit, /--local=\/cluster\.local\//);
  await system('systemd-analyze', 'verify', 'spawnlet-pod-dns.service');
});

test('without dnsmasq pods run as before and ask the name servers of the host', async () => {
  await host.agent.kill();
  await system('systemctl', 'stop', 'spawnlet-pod-dns');
  await system('mv', '/usr/sbin/dnsmasq', '/usr/sbin/dnsmasq.away');
  try {
    host.agent.start();
    await apply('plain', podOf('plain', [sleeps]));
    await until('plain', 'is ready', isReady);
    const text = await done(['pod', 'exec', 'plain', '--', 'cat', '/etc/resolv.conf']);
    assert.doesNotMatch(text, /10\.88\.0\.1|ndots/);
  } finally {
    await system('mv', '/usr/sbin/dnsmasq.away', '/usr/sbin/dnsmasq');
  }
  // When it is there, those that run already are found too.
  await host.agent.kill();
  host.agent.start();
  const plain = await addressOf('plain', 'default');
  await eventually(async () => (await ask('asks', 'default', 'plain')) === plain, 'plain is found');
});
