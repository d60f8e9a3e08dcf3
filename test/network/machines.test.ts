// runs in a lab: bookworm trixie +nftables +openvswitch-switch +iptables +ifupdown +netplan.io
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { anInterface, close, shell, state, type TestMachine, useMachine, useMachineWith } from './machine.ts';
import { ask, eventually, refused, serve, useStation } from './peers.ts';

after(close);

/** What a lab's network has outside of it; see src/lab/network.ts. */
const outside = '10.77.0.1';

const reach = (machine: TestMachine, address: string) =>
  eventually(() => machine.inside('ping', '-c1', '-W1', address));

/** A bridge of the host that is gone with the test. */
async function useBridge(name: string) {
  await shell('ip', 'link', 'add', name, 'type', 'bridge', 'forward_delay', '0');
  await shell('ip', 'link', 'set', name, 'up');
  return {
    async [Symbol.asyncDispose]() {
      await shell('ip', 'link', 'delete', name);
    },
  };
}

/** What a machine with root can do to send packets for 127.0.0.1 to this host. */
const loopbackByBridge = `
  echo 1 >/proc/sys/net/ipv4/conf/host0/route_localnet
  ip address delete 127.0.0.1/8 dev lo
  ip route add 127.0.0.1/32 via 10.153.0.1 src 10.153.0.3`;

const inNetworkOf = (machine: TestMachine) => ['nsenter', '-t', machine.leader, '-n', '--'];

test('two machines on a bridge reach each other by their static addresses, IPv4 and IPv6', async () => {
  await using _bridge = await useBridge('br7');
  const one = anInterface({ kind: 'bridge', bridge: 'br7', addresses: ['10.9.0.2/24', 'fd00:9::2/64'] });
  const other = anInterface({
    kind: 'bridge',
    bridge: 'br7',
    addresses: ['10.9.0.3/24', 'fd00:9::3/64'],
    mac: '02:00:00:00:00:07',
  });
  await using a = await useMachine('alpha', one);
  await using b = await useMachine('beta', other);
  await reach(a, '10.9.0.3');
  await reach(b, 'fd00:9::2');
  assert.match(await a.inside('ip', 'neighbour', 'show', '10.9.0.3'), /02:00:00:00:00:07/);
});

for (const manager of ['ifupdown', 'netplan'] as const)
  test(`a machine whose tree has ${manager} has its addresses, routes and hardware address by that`, async () => {
    await using _bridge = await useBridge('br7');
    const one = anInterface({
      kind: 'bridge',
      bridge: 'br7',
      addresses: ['10.9.0.2/24', 'fd00:9::2/64'],
      gateways: ['10.9.0.1', 'fd00:9::1'],
      dns: ['10.9.0.1'],
      mac: '02:00:00:00:00:07',
    });
    await using machine = await useMachineWith(manager, 'alpha', one);
    await eventually(async () => {
      const shown = await machine.inside('ip', 'address', 'show', 'host0');
      for (const part of ['10.9.0.2/24', 'fd00:9::2/64', '02:00:00:00:00:07'])
        assert.ok(shown.includes(part), shown);
      assert.match(await machine.inside('ip', 'route'), /default via 10\.9\.0\.1/);
      assert.match(await machine.inside('ip', '-6', 'route'), /default via fd00:9::1/);
    });
    assert.match(await machine.inside('cat', '/etc/resolv.conf'), /^nameserver 10\.9\.0\.1$/m);
  });

test('machines with long names that begin alike are on one bridge, each with two interfaces', async () => {
  await using _bridge = await useBridge('br7');
  const interfaces = (host: number) => [
    anInterface({ kind: 'bridge', bridge: 'br7', addresses: [`10.9.0.${host}/24`] }),
    anInterface({ kind: 'bridge', bridge: 'br7', name: 'lan0', addresses: [`10.10.0.${host}/24`] }),
  ];
  await using a = await useMachine('a-machine-with-a-long-name-1', ...interfaces(2));
  await using b = await useMachine('a-machine-with-a-long-name-2', ...interfaces(3));
  await reach(a, '10.9.0.3');
  await reach(b, '10.10.0.2');
});

test('machines on Open vSwitch reach each other in a VLAN, not across; the ports go with them', async () => {
  await shell('ovs-vsctl', 'add-br', 'ovs7', '--', 'set', 'bridge', 'ovs7', 'datapath_type=netdev');
  try {
    const port = (host: number, vlan: number) =>
      anInterface({ kind: 'ovs', bridge: 'ovs7', vlan, addresses: [`10.9.0.${host}/24`] });
    await using a = await useMachine('alpha', port(2, 5));
    await using b = await useMachine('beta', port(3, 5));
    await using c = await useMachine('gamma', port(4, 6));
    await reach(a, '10.9.0.3');
    await reach(b, '10.9.0.2');
    await assert.rejects(c.inside('ping', '-c1', '-W1', '10.9.0.2'));
    const ports = await shell('ovs-vsctl', 'list-ports', 'ovs7');
    assert.deepEqual(ports.split('\n').filter(Boolean), ['vs-alpha', 'vs-beta', 'vs-gamma']);
    await a[Symbol.asyncDispose]();
    assert.doesNotMatch(await shell('ovs-vsctl', 'list-ports', 'ovs7'), /alpha/);
  } finally {
    await shell('ovs-vsctl', 'del-br', 'ovs7');
  }
});

test('a machine with a macvlan is a neighbour of what is on its parent’s network', async () => {
  // 10.77.0.0/24 is the network of the lab itself: outside is another station of it.
  await using a = await useMachine(
    'alpha',
    anInterface({ kind: 'macvlan', parent: 'host0', name: 'mv-host0', addresses: ['10.77.0.222/24'] }),
  );
  await reach(a, outside);
  assert.match(await a.inside('ip', '-details', 'link', 'show', 'mv-host0'), /macvlan/);
});

test('an interface of the host is the machine’s while it runs', async () => {
  await shell('ip', 'link', 'add', 'mine', 'type', 'veth', 'peer', 'name', 'theirs');
  try {
    await shell('ip', 'address', 'add', '10.9.0.1/24', 'dev', 'mine');
    await shell('ip', 'link', 'set', 'mine', 'up');
    const one = anInterface({
      kind: 'physical',
      interface: 'theirs',
      name: 'theirs',
      addresses: ['10.9.0.2/24'],
    });
    await using a = await useMachine('alpha', one);
    await reach(a, '10.9.0.1');
    await assert.rejects(shell('ip', 'link', 'show', 'theirs'));
  } finally {
    await shell('sh', '-c', 'ip link delete mine 2>/dev/null || true');
  }
});

test('ipvlan, which this kernel lacks, is refused with the reason', async t => {
  const has = await shell(
    'unshare',
    '--net',
    'sh',
    '-c',
    'ip link add p0 type veth && ip link add v0 link p0 type ipvlan',
  ).then(
    () => true,
    () => false,
  );
  const made = useMachine('alpha', anInterface({ kind: 'ipvlan', parent: 'host0', name: 'iv-host0' }));
  if (has) {
    t.diagnostic('this kernel has ipvlan');
    await (await made)[Symbol.asyncDispose]();
  } else await assert.rejects(made, { code: 'ERR_NETWORK_KERNEL', message: /has no ipvlan/ });
});

test('a zone is refused where systemd-networkd does not run', async () => {
  const zone = anInterface({ kind: 'zone', zone: 'lab' });
  await shell('systemctl', 'stop', 'systemd-networkd.socket', 'systemd-networkd.service');
  try {
    await assert.rejects(useMachine('alpha', zone), { code: 'ERR_NETWORK', message: /systemd-networkd/ });
  } finally {
    await shell('systemctl', 'start', 'systemd-networkd.socket', 'systemd-networkd.service');
  }
});

test('a zone is a bridge of systemd-networkd, which gives addresses by DHCP', async () => {
  const zone = (name: string) =>
    useMachine(name, anInterface({ kind: 'zone', zone: 'lab', addresses: 'dhcp' }));
  await using a = await zone('alpha');
  await using b = await zone('beta');
  const address = await eventually(async () => {
    const shown = await b.inside('ip', '-4', '-oneline', 'address', 'show', 'host0', 'scope', 'global');
    const found = /inet ([\d.]+)/.exec(shown)?.[1];
    assert.ok(found, shown);
    return found;
  });
  await reach(a, address);
});

test('a machine that was killed has its links and ports again when it is started, and none in between', async () => {
  await using _bridge = await useBridge('br7');
  const port = { protocol: 'tcp', hostPort: 8080, port: 80 } as const;
  await using a = await useMachine(
    'alpha',
    anInterface({ kind: 'nat', ports: [port] }),
    anInterface({ kind: 'bridge', bridge: 'br7', name: 'lan0', addresses: ['10.9.0.2/24'] }),
  );
  const links = () => shell('sh', '-c', 'ip -brief link | cut -d@ -f1 | grep -E "^v[bsi]|^spawnlet0"');
  const up = await links();
  assert.deepEqual(
    up
      .split(/\s+/)
      .filter(name => name.startsWith('v'))
      .sort(),
    ['vb-alpha', 'vs1-alpha'],
  );
  await shell('systemctl', 'kill', '--signal=KILL', 'systemd-nspawn@alpha');
  await eventually(async () => {
    assert.match(await shell('systemctl', 'show', '-P', 'ActiveState', 'systemd-nspawn@alpha'), /failed/);
    await assert.rejects(links());
    await assert.rejects(shell('nft', 'list', 'table', 'inet', 'spawnlet'));
  });
  await shell('systemctl', 'start', 'systemd-nspawn@alpha').catch(async cause => {
    throw new Error(await shell('journalctl', '--no-pager', '-n20', '-u', 'systemd-nspawn@alpha'), { cause });
  });
  assert.equal(await links(), up);
  const map = await shell('nft', 'list', 'map', 'inet', 'spawnlet', 'published4');
  assert.ok(map.includes(`tcp . 8080 : ${a.lines.addresses[0] ?? ''} . 80`), map);
});

test('a port that a unit no longer names when it stops goes all the same, and no neighbour’s with it', async () => {
  const port = (hostPort: number, address?: string) => ({
    protocol: 'tcp' as const,
    hostPort,
    port: 80,
    ...(address !== undefined && { address }),
  });
  const ports = [port(8080), port(8081, '127.0.0.1'), port(8082)];
  await using a = await useMachine('alpha', anInterface({ kind: 'nat', ports }));
  await using _b = await useMachine('beta', anInterface({ kind: 'nat', ports: [port(8083)] }));
  const [v4 = '', v6 = ''] = a.lines.addresses;
  const keys = async () =>
    (await shell('nft', 'list', 'table', 'inet', 'spawnlet')).match(/\b808\d\b/g) ?? [];
  assert.deepEqual((await keys()).sort(), ['8080', '8080', '8081', '8082', '8082', '8083', '8083']);
  await shell('nft', 'add', 'element', 'inet', 'spawnlet', 'bound6', `{ fd00::1 . tcp . 8084 : ${v6} . 80 }`);
  await shell('nft', 'add', 'element', 'inet', 'spawnlet', 'published4', `{ udp . 8085 : ${v4} . 80 }`);
  await shell('systemctl', 'stop', 'systemd-nspawn@alpha');
  assert.deepEqual(await keys(), ['8083', '8083']);
});

test('a machine with NAT gets out, is reached at its ports from outside and from here, and leaves nothing', async () => {
  const before = await state();
  const nat = (...ports: readonly (readonly ['tcp' | 'udp', number, string?])[]) =>
    anInterface({
      kind: 'nat',
      ports: ports.map(([protocol, hostPort, address]) => ({
        protocol,
        hostPort,
        port: 80,
        ...(address !== undefined && { address }),
      })),
    });
  {
    await using a = await useMachine('alpha', nat(['tcp', 8080], ['udp', 8080], ['tcp', 8081, '127.0.0.1']));
    await using b = await useMachine('beta', nat());
    await using _tcp = await serve('tcp', '::', 80, inNetworkOf(a));
    await using _udp = await serve('udp', '0.0.0.0', 80, inNetworkOf(a));

    await reach(a, outside);
    const own = a.lines.addresses[0] ?? '';
    const [host = ''] = /10\.77\.0\.\d+/.exec(await shell('ip', '-4', 'address', 'show', 'host0')) ?? [];

    // From here: over the loop-back the bridge's address asks, else the host's.
    assert.equal(await eventually(() => ask('127.0.0.1', 8080)), '::ffff:10.153.0.1\n');
    assert.match(await ask(host, 8080), /10\.77\.0\.\d+/);
    assert.match(await ask('127.0.0.1', 8081), /10\.153\.0\.1/);
    await refused(host, 8081);
    await refused('::1', 8080);

    // From another host, which is seen as what it is.
    await using station = await useStation();
    const asked = await station.shell('timeout', '3', 'bash', '-c', `cat </dev/tcp/${host}/8080`);
    assert.equal(asked, '::ffff:198.18.0.2\n');
    const echo = `exec 3<>/dev/udp/${host}/8080; echo hello >&3; timeout 3 head -1 <&3`;
    assert.equal(await station.shell('bash', '-c', echo), 'hello\n');
    // A port that is not published is not reached, though there is a route.
    await assert.rejects(station.shell('timeout', '2', 'bash', '-c', `cat </dev/tcp/${own}/80`));

    // A neighbour reaches the port at the host's address too.
    const neighbour = ['nsenter', '-t', b.leader, '-n', 'timeout', '3', 'bash', '-c'] as const;
    assert.match(await shell(...neighbour, `cat </dev/tcp/${host}/8080`), /10\.153\.0\.1/);
    // Nothing of the host's loop-back is in a machine's reach: the guard drops what the kernel would let through.
    await using _local = await serve('tcp', '127.0.0.1', 9090);
    await shell(...neighbour, loopbackByBridge);
    await assert.rejects(shell(...neighbour, 'cat </dev/tcp/127.0.0.1/9090'));
    await shell('nft', 'flush', 'chain', 'inet', 'spawnlet', 'guard');
    assert.match(await shell(...neighbour, 'cat </dev/tcp/127.0.0.1/9090'), /10\.153\.0\.3/);

    // Names are told.
    await assert.rejects(useMachine('gamma', nat(['tcp', 8080])), {
      code: 'ERR_PORT_TAKEN',
      message: "port 8080/tcp is machine alpha's",
    });
    await assert.rejects(useMachine('gamma', nat(['tcp', 9090])), {
      code: 'ERR_PORT_TAKEN',
      message: "port 9090/tcp is echo's",
    });

    // Rules are loaded again without losing a port.
    await shell('systemctl', 'reload', 'spawnlet-nat');
    assert.match(await ask('127.0.0.1', 8080), /10\.153\.0\.1/);
    const rules = await shell('nft', 'list', 'table', 'inet', 'spawnlet');
    assert.equal(rules.match(/masquerade/g)?.length, 5);
  }
  assert.deepEqual(await state(), before);
});

test('a host whose FORWARD chain drops lets machines out all the same, and has its rules back afterwards', async () => {
  await shell('iptables', '--policy', 'FORWARD', 'DROP');
  try {
    const before = await shell('iptables', '--list-rules');
    {
      await using a = await useMachine('alpha', anInterface({ kind: 'nat', ports: [] }));
      await reach(a, outside);
    }
    assert.equal(await shell('iptables', '--list-rules'), before);
  } finally {
    await shell('iptables', '--policy', 'FORWARD', 'ACCEPT');
    await shell('sh', '-c', 'iptables-save | grep -q . && nft delete table ip filter || true');
  }
});
