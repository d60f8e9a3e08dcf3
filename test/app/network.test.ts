// runs in a lab: bookworm trixie +iptables
// Containers on spawnlet's own bridge: reached, found by name, and gone without a trace.
import assert from 'node:assert/strict';
import { readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { after, before, suite, test } from 'node:test';
import { anInterface, close as closeMachines, useMachine } from '../network/machine.ts';
import { ask, refused, eventually as soon, useStation } from '../network/peers.ts';
import { debianImage, done, type Fixture, lookUp, running, spawnlet, system, useImages } from './tools.ts';

let images: Fixture;
let image = '';
let exposing = '';
let own = '';

/** Says over TCP who asks, and over UDP what it was told, at the port that it is given; with nothing but perl-base. */
const server = `use Socket; my $port = shift; $| = 1;
socket(T, PF_INET6, SOCK_STREAM, 0) or die; setsockopt(T, SOL_SOCKET, SO_REUSEADDR, 1);
bind(T, pack_sockaddr_in6($port, Socket::inet_pton(AF_INET6, "::"))) or die "bind: $!"; listen(T, 9);
socket(U, PF_INET, SOCK_DGRAM, 0); bind(U, sockaddr_in($port, INADDR_ANY)) or die "udp: $!";
print "up\\n";
for (;;) { my $r = ""; vec($r, fileno(T), 1) = 1; vec($r, fileno(U), 1) = 1; select($r, undef, undef, undef);
  if (vec($r, fileno(T), 1)) { my $p = accept(my $c, T); my (undef, $a) = unpack_sockaddr_in6($p);
    syswrite $c, Socket::inet_ntop(AF_INET6, $a) . "\\n"; close $c }
  else { my $p = recv(U, my $m, 99, 0); send(U, $m, 0, $p) } }`;

before(async () => {
  images = await useImages({
    deb: debianImage(),
    exposing: debianImage({ ExposedPorts: { '80/tcp': {}, '53/udp': {}, '90-91/tcp': {} } }),
  });
  image = images.ref('deb');
  exposing = images.ref('exposing');
  [own = ''] = /10\.77\.0\.\d+/.exec(await system('ip', '-4', 'address', 'show', 'host0')) ?? [];
});

after(async () => {
  await images[Symbol.asyncDispose]();
  await closeMachines();
});

/** A container that serves at its port 80. */
async function serve(name: string, ...flags: readonly string[]) {
  const argv = ['run', '-d', '--name', name, ...flags, image, 'perl', '-e', server, '80'];
  await done(argv);
  await soon(async () => assert.match(await done(['logs', name]), /up/));
  return {
    name,
    async [Symbol.asyncDispose]() {
      await done(['rm', '-f', name]);
    },
  };
}

const rowOf = async (name: string) => {
  const rows = JSON.parse(await done(['ps', '-a', '-o', 'json'])) as {
    name: string;
    addresses: string[];
    ports: string[];
  }[];
  const row = rows.find(each => each.name === name);
  assert.ok(row, `${name} is not there`);
  return row;
};

/** Runs a command in a container of its own on the bridge; what it printed. */
const inside = (...argv: readonly string[]) => done(['run', '--rm', image, ...argv]);

const resolve = (name: string) => inside('perl', '-e', lookUp, name);

const echo = (address: string, port: number) =>
  ['bash', '-c', `exec 3<>/dev/udp/${address}/${port}; echo hello >&3; timeout 3 head -1 <&3`] as const;

/** What containers on the bridge change of a host. */
async function state() {
  return {
    links: await system('sh', '-c', "ip -o link | sed 's/ state .*//' | cut -d: -f2"),
    rules: await system('nft', 'list', 'ruleset'),
    filter: await system('sh', '-c', 'iptables-save | grep -v "^#" || true'),
    settings: await Promise.all(
      ['ipv4/ip_forward', 'ipv6/conf/all/forwarding'].map(name => readFile(`/proc/sys/net/${name}`, 'utf8')),
    ),
    units: await system(
      'sh',
      '-c',
      'systemctl list-units --all --plain --no-legend "spawnlet-*" | cut -d" " -f1',
    ),
    files: await system(
      'sh',
      '-c',
      'ls /etc/systemd/system /run/spawnlet; ls -A /var/lib/spawnlet/network || true',
    ),
  };
}

test('ports lead to a container over TCP and UDP, from here, 127.0.0.1 and beyond; nothing is left of them', async () => {
  // What the first container of a host leaves for all that follow, whatever its network.
  await done(['run', '--rm', '--network=host', image, 'true']);
  const before = await state();
  {
    await using web = await serve('web', '-p', '8080:80', '-p', '8080:80/udp', '-p', '127.0.0.1:8081:80');
    assert.deepEqual((await rowOf(web.name)).ports, [
      '8080->80/tcp',
      '8080->80/udp',
      '127.0.0.1:8081->80/tcp',
    ]);
    assert.match(await done(['ps']), /8080->80\/tcp, 8080->80\/udp, 127\.0\.0\.1:8081->80\/tcp/);
    assert.match(await ask('127.0.0.1', 8080), /^::ffff:10\.\d+\.\d+\.1\n$/);
    assert.equal(await system(...echo('127.0.0.1', 8080)), 'hello\n');
    assert.match(await ask(own, 8080), /10\.77\.0\./);
    await ask('127.0.0.1', 8081);
    await refused(own, 8081);
    await using station = await useStation();
    // A port of 127.0.0.1 is not a neighbour's who sends what is for 127.0.0.1 here.
    await station.shell('sysctl', '-q', '-w', 'net.ipv4.conf.all.route_localnet=1');
    await station.shell('ip', 'route', 'add', '127.0.0.1/32', 'via', '198.18.0.1');
    const sneak = () => station.shell('timeout', '2', 'bash', '-c', 'cat </dev/tcp/127.0.0.1/8081');
    await assert.rejects(sneak);
    await system('nft', 'flush', 'chain', 'inet', 'spawnlet', 'guard');
    await sneak();
    const asked = await station.shell('timeout', '3', 'bash', '-c', `cat </dev/tcp/${own}/8080`);
    assert.equal(asked, '::ffff:198.18.0.2\n');
    assert.equal(await station.shell(...echo(own, 8080)), 'hello\n');
    const [address = ''] = (await rowOf('web')).addresses;
    await assert.rejects(station.shell('timeout', '2', 'bash', '-c', `cat </dev/tcp/${address}/80`));
    // The container gets out, and another reaches its port at the host's address.
    assert.match(await inside('bash', '-c', `cat </dev/tcp/${own}/8080`), /10\.\d+\.\d+\.1/);
    await assert.rejects(serve('other', '-p', '8080:80'), { message: /8080\/tcp is container web's/ });
  }
  await refused('127.0.0.1', 8080);
  assert.deepEqual(await state(), before);
});

test('a port over IPv6 is reached at the host’s IPv6 addresses', async () => {
  await system('ip', '-6', 'address', 'add', 'fd00:77::1/64', 'dev', 'host0', 'nodad');
  try {
    await using _web = await serve('web', '-p', '8080:80', '-p', '[fd00:77::1]:8082:80');
    assert.match(await ask('fd00:77::1', 8080), /^fd00:77::1\n$/);
    await ask('fd00:77::1', 8082);
    await refused('127.0.0.1', 8082);
  } finally {
    await system('ip', '-6', 'address', 'delete', 'fd00:77::1/64', 'dev', 'host0');
  }
});

test('a container of --rm in the foreground has its ports while it runs', async () => {
  const run = running(['run', '--rm', '-p', '8085:80', image, 'perl', '-e', server, '80']);
  assert.equal(await run.line(), 'up');
  await ask('127.0.0.1', 8085);
  const [row] = JSON.parse(await done(['ps', '-o', 'json'])) as { name: string }[];
  await done(['kill', row?.name ?? '']);
  await run.ended;
  await soon(() => refused('127.0.0.1', 8085));
  for (const kind of ['names', 'ports'])
    await soon(async () => assert.deepEqual(await readdir(`/run/spawnlet/nat/${kind}`), []));
});

test('-P publishes what the image exposes at ports that are free, and -p without a port of the host any one', async () => {
  await done(['run', '-d', '--name=all', '-P', '-p', '8000:80', exposing, 'sleep', 'infinity']);
  await done(['run', '-d', '--name=any', '-p', '80', image, 'sleep', 'infinity']);
  const [all, any] = [await rowOf('all'), await rowOf('any')];
  assert.match(all.ports.join(' '), /^8000->80\/tcp (\d{5})->53\/udp (\d{5})->90\/tcp (\d{5})->91\/tcp$/);
  const used = [...all.ports, ...any.ports].map(port => `${Number.parseInt(port, 10)}${port.slice(-4)}`);
  assert.equal(new Set(used).size, used.length, used.join(' '));
  await done(['rm', '-f', 'all', 'any']);
});

test('containers find each other by name as they come and go, and what the host resolves too', async () => {
  await writeFile('/tmp/upstream', 'local=/example.test/\naddress=/known.example.test/192.0.2.7\n');
  const flags = '--listen-address=127.0.0.1 --bind-interfaces --no-resolv --no-hosts --user=root';
  await system('sh', '-c', `dnsmasq --conf-file=/tmp/upstream --pid-file=/run/upstream.pid ${flags}`);
  const resolvConf = await readFile('/etc/resolv.conf', 'utf8').catch(() => '');
  await writeFile('/etc/resolv.conf', 'search example.test\nnameserver 127.0.0.1\n');
  try {
    await done(['run', '-d', '--name=asks', image, 'sleep', 'infinity']);
    const from = (name: string) => done(['exec', 'asks', 'perl', '-e', lookUp, name]);
    assert.doesNotMatch(await from('web'), /^10\./m);
    {
      await using _web = await serve('web');
      const { addresses } = await rowOf('web');
      await soon(async () =>
        assert.deepEqual((await from('web')).trim().split('\n').sort(), [...addresses].sort()),
      );
      // A name server of the host's loop-back answers for the rest, and the search list is the host's.
      assert.equal(await from('known'), '192.0.2.7\n');
      assert.match(await done(['exec', 'asks', 'bash', '-c', 'cat </dev/tcp/web/80']), /^(::ffff:10\.|fd)/);
    }
    await soon(async () => assert.doesNotMatch(await from('web'), /^10\./m));
    // One that is killed with all that could have taken its name back.
    await done(['run', '-d', '--name=web', '-p', '8080:80', image, 'sleep', 'infinity']);
    await soon(async () => assert.match(await from('web'), /^10\./m));
    await system('systemctl', 'kill', '--signal=KILL', 'web');
    await soon(async () => assert.doesNotMatch(await from('web'), /^10\./m));
    assert.doesNotMatch(await system('nft', 'list', 'table', 'inet', 'spawnlet'), /8080/);
  } finally {
    await spawnlet(['rm', '-f', 'asks', 'web']);
    await system('sh', '-c', 'kill $(cat /run/upstream.pid)');
    await writeFile('/etc/resolv.conf', resolvConf);
    await rm('/tmp/upstream');
  }
});

test('where dnsmasq is not installed, containers ask the name servers of the host', async () => {
  const resolvConf = await readFile('/etc/resolv.conf', 'utf8').catch(() => '');
  await inside('true');
  await system('mv', '/usr/sbin/dnsmasq', '/usr/sbin/dnsmasq.away');
  await system('systemctl', 'stop', 'spawnlet-dns', 'spawnlet-nat-linger');
  await writeFile('/etc/resolv.conf', 'search example.test\nnameserver 127.0.0.1\nnameserver 192.0.2.53\n');
  try {
    await system('sh', '-c', 'mv /run/systemd/resolve/resolv.conf /tmp/resolve 2>/dev/null || true');
    assert.equal(await inside('cat', '/etc/resolv.conf'), 'search example.test\nnameserver 192.0.2.53\n');
  } finally {
    await system('sh', '-c', 'mv /tmp/resolve /run/systemd/resolve/resolv.conf 2>/dev/null || true');
    await system('mv', '/usr/sbin/dnsmasq.away', '/usr/sbin/dnsmasq');
    await writeFile('/etc/resolv.conf', resolvConf);
  }
});

test('--ip, --dns and --add-host are had as asked; an address that is taken is refused', async () => {
  const gateway =
    (await system('ip', '-4', 'address', 'show', 'spawnlet0')).match(/inet ([\d.]+)/)?.[1] ?? '';
  const wanted = gateway.replace(/\d+$/, '77');
  const flags = [
    '--ip',
    wanted,
    '--dns',
    '192.0.2.1',
    '--add-host',
    'db:192.0.2.9',
    '--add-host',
    'me:host-gateway',
  ];
  const look = 'cat /etc/resolv.conf; while read -r a b; do echo $a $b; done </etc/hosts';
  const text = await done(['run', '--name=fixed', ...flags, image, 'bash', '-c', look]);
  assert.match(text, /^nameserver 192\.0\.2\.1$/m);
  assert.match(text, new RegExp(`^${wanted.replaceAll('.', '\\.')} fixed$`, 'm'));
  assert.match(text, /^192\.0\.2\.9 db$/m);
  assert.match(text, new RegExp(`^${gateway.replaceAll('.', '\\.')} me$`, 'm'));
  const { code, err } = await spawnlet(['run', '--rm', '--ip', wanted, image, 'true']);
  assert.equal(code, 125);
  assert.match(err, /is container fixed's \[ERR_ADDRESS_TAKEN\]/);
  await done(['rm', 'fixed']);
});

test('machines and containers are given no address or port of each other', async () => {
  await using _web = await serve('web', '-p', '8080:80');
  const { addresses } = await rowOf('web');
  await using machine = await useMachine('alpha', anInterface({ kind: 'nat', ports: [] }));
  void machine;
  await done(['run', '-d', '--name=next', image, 'sleep', 'infinity']);
  const all = [...addresses, ...(await rowOf('next')).addresses];
  assert.equal(new Set(all).size, all.length, all.join(' '));
  await done(['rm', '-f', 'next']);
});

test('a network that cannot be connected is why a container does not start', async () => {
  await done(['run', '-d', '--name=late', '-p', '8086:80', image, 'sleep', 'infinity']);
  await done(['kill', 'late']);
  await done(['wait', 'late']);
  // Somebody has the port meanwhile, of whom spawnlet does not know.
  await done(['run', '-d', '--name=holds', image, 'sleep', 'infinity']);
  const element = '{ tcp . 8086 : 192.0.2.1 . 80 }';
  await system('nft', 'add', 'element', 'inet', 'spawnlet', 'published4', element);
  const { code, err } = await spawnlet(['run', '--rm', '--name=bad', '-p', '8087:80', image, 'true']);
  assert.equal(code, 0, err);
  assert.notEqual((await spawnlet(['start', 'late'])).code, undefined);
  await soon(async () => assert.match(await system('systemctl', 'is-failed', 'late'), /failed/));
  assert.match(
    await readFile('/var/lib/spawnlet/app/late/error', 'utf8'),
    /its network was not connected: .*exists/i,
  );
  await system('nft', 'delete', 'element', 'inet', 'spawnlet', 'published4', '{ tcp . 8086 }');
  await done(['rm', '-f', 'late', 'holds']);
});

test('a restart of the host’s firewall loses no port of a container', async () => {
  await using _web = await serve('web', '-p', '8080:80');
  await ask('127.0.0.1', 8080);
  await system('systemctl', 'restart', 'nftables');
  await soon(() => ask('127.0.0.1', 8080));
  await system('systemctl', 'reload', 'nftables');
  await soon(() => ask('127.0.0.1', 8080));
  await system('systemctl', 'stop', 'nftables');
});

test('a host whose chains drop what no rule accepts lets containers out and answers their questions', async () => {
  await done(['rm', '-fa']);
  await system('iptables', '--policy', 'FORWARD', 'DROP');
  await system('iptables', '--append', 'INPUT', '--in-interface', 'lo', '--jump', 'ACCEPT');
  await system('iptables', '--policy', 'INPUT', 'DROP');
  await system(
    'iptables',
    '--append',
    'OUTPUT',
    '--match',
    'conntrack',
    '--ctstate',
    'ESTABLISHED',
    '--jump',
    'ACCEPT',
  );
  await system('iptables', '--policy', 'OUTPUT', 'DROP');
  try {
    const rules = await system('iptables', '--list-rules');
    await done(['run', '-d', '--name=named', image, 'sleep', 'infinity']);
    await soon(async () => assert.match(await resolve('named'), /^10\./m));
    await done(['rm', '-f', 'named']);
    assert.equal(await system('iptables', '--list-rules'), rules);
  } finally {
    for (const chain of ['INPUT', 'OUTPUT']) await system('iptables', '--policy', chain, 'ACCEPT');
    await system('iptables', '--policy', 'FORWARD', 'ACCEPT');
    await system('iptables', '--flush');
  }
});

suite('with the engine nspawn', () => {
  test('a container is on the bridge too', async () => {
    await using _web = await serve('web', '--engine=nspawn', '-p', '8080:80');
    assert.match(await ask('127.0.0.1', 8080), /^::ffff:10\./);
    const { addresses } = await rowOf('web');
    assert.match(await resolve('web'), new RegExp(`^${addresses[0]?.replaceAll('.', '\\.')}$`, 'm'));
  });
});

test('it works on at boot with spawnlet gone: the unit has all that it needs', async () => {
  await using _web = await serve('web', '-p', '8080:80', '--enable');
  // A boot starts from nothing that was running.
  await done(['kill', 'web']);
  await system('systemctl', 'stop', 'web', 'spawnlet-nat-linger', 'spawnlet-dns', 'spawnlet-nat');
  await refused('127.0.0.1', 8080);
  const unit = await system('systemctl', 'cat', 'web');
  assert.doesNotMatch(unit.replaceAll(/^#.*$/gm, ''), /bin\/spawnlet/);
  await system('systemctl', 'start', 'web');
  await soon(() => ask('127.0.0.1', 8080));
  assert.equal(
    await system(
      'sh',
      '-c',
      'systemd-analyze verify --man=no web.service spawnlet-dns.service spawnlet-nat-leave@web.service spawnlet-nat-linger.service 2>&1 | grep -E "^(web|spawnlet-[a-z@-]*)\\.service:" || :',
    ),
    '',
  );
});
