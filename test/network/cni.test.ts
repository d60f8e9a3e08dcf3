// runs in a lab: bookworm trixie +containernetworking-plugins +iptables
import assert from 'node:assert/strict';
import { chmod, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { realHost } from '../../src/host/host.ts';
import { defaultNetwork } from '../../src/network/cni/default.ts';
import type { CniStep } from '../../src/network/cni/executors.ts';
import { isNetns, netnsPath } from '../../src/network/cni/netns.ts';
import { readRecord, staleRecords } from '../../src/network/cni/record.ts';
import {
  addStep,
  aNetwork,
  client,
  close,
  cniApplier,
  finished,
  host,
  type Place,
  shell,
  signal,
  undoable,
  useContainer,
  usePlace,
} from './attached.ts';

after(close);

/** Addresses of a network that host-local has given away. */
async function given(network: string, directory = '/var/lib/cni/networks'): Promise<string[]> {
  const names = await readdir(join(directory, network)).catch(() => []);
  return names.filter(name => /^[\da-f]/.test(name)).sort();
}

/** All that adding a container to networks changes on a host, but for bridges, which stay for the next one. */
async function state(place: Place, ...networks: string[]) {
  return {
    links: await shell('sh', '-c', 'ip -brief link | grep ^veth || true'),
    namespaces: await readdir('/run/netns').catch(() => []),
    units: await shell('sh', '-c', 'systemctl list-units --all --plain --no-legend "spawnlet-cni-*"'),
    records: await place.records(),
    addresses: await Promise.all(networks.map(network => given(network))),
  };
}

/** A plugin of a test: a shell script in a directory of its own, which comes before Debian's. */
async function usePlugin(place: Place, name: string, script: string): Promise<readonly string[]> {
  const directory = join(place.directory, '..', `plugins-${name}`);
  await mkdir(directory, { recursive: true });
  await writeFile(join(directory, name), `#!/bin/sh\n${script}`);
  await chmod(join(directory, name), 0o755);
  return [directory, '/usr/lib/cni'];
}

test('a namespace has a loop-back that is up, an address of the network, and reaches its neighbour and its gateway', async () => {
  await using place = await usePlace();
  const before = await state(place, 'net60');
  {
    await using a = await useContainer(place, 'a', [aNetwork(60)]);
    await using b = await useContainer(place, 'b', [aNetwork(60)]);
    assert.deepEqual([a.addresses, b.addresses], [['10.60.0.2/24'], ['10.60.0.3/24']]);
    await a.inside('ping', '-c1', '-W1', '127.0.0.1');
    await a.inside('ping', '-c1', '-W1', '10.60.0.3');
    await b.inside('ping', '-c1', '-W1', '10.60.0.1');
    await shell('ping', '-c1', '-W1', '10.60.0.2');
    const network = JSON.parse(
      await readFile(join(place.record('a'), 'network.conflist'), 'utf8'),
    ) as unknown;
    assert.deepEqual(network, aNetwork(60));
  }
  assert.deepEqual(await state(place, 'net60'), before);
});

test('a namespace can be taken away though ip has mounted the directory of its own over itself', async () => {
  await using place = await usePlace();
  const before = await state(place, 'net60');
  {
    await using a = await useContainer(place, 'a', [aNetwork(60)]);
    await shell('ip', 'netns', 'add', 'of-another');
    await a.inside('ping', '-c1', '-W1', '10.60.0.1');
  }
  await shell('ip', 'netns', 'delete', 'of-another');
  assert.deepEqual(await state(place, 'net60'), before);
  assert.doesNotMatch(await readFile('/proc/self/mountinfo', 'utf8'), / \/run\/\S*netns\/a /);
});

test('the default network has both families, at once, and notes addresses for this boot alone', async () => {
  await using place = await usePlace();
  const network = defaultNetwork('default61', 'test61', { v4: '10.61.0.0/16', v6: 'fd00:61::/64' });
  await using a = await useContainer(place, 'a', [network]);
  await using b = await useContainer(place, 'b', [network]);
  assert.deepEqual(a.addresses, ['10.61.0.2/16', 'fd00:61::2/64']);
  await b.inside('ping', '-c1', '-W1', '10.61.0.2');
  await b.inside('ping', '-c1', '-W1', 'fd00:61::2');
  assert.doesNotMatch(await a.inside('ip', '-6', 'address', 'show', 'eth0'), /fd00:.*tentative/);
  assert.deepEqual(await given('default61', '/run/spawnlet/cni'), [
    '10.61.0.2',
    '10.61.0.3',
    'fd00:61::2',
    'fd00:61::3',
  ]);
});

test('a container is in two networks, and is taken out of both by what was recorded', async () => {
  await using place = await usePlace();
  const before = await state(place, 'net62', 'net63');
  {
    const second = aNetwork(63);
    await using a = await useContainer(place, 'a', [aNetwork(62), second]);
    assert.deepEqual(a.addresses, ['10.62.0.2/24', '10.63.0.2/24']);
    await a.inside('ping', '-c1', '-W1', '-I', 'eth1', '10.63.0.1');
  }
  assert.deepEqual(await state(place, 'net62', 'net63'), before);
});

test('what plugins can do for a container is told to them: ports, a hardware address', async () => {
  await using place = await usePlace();
  const network = aNetwork(64, [
    { type: 'portmap', capabilities: { portMappings: true }, snat: true },
    { type: 'tuning', capabilities: { mac: true } },
  ]);
  const applier = cniApplier(place.journals);
  const capabilities = {
    portMappings: [{ hostPort: 8064, containerPort: 80, protocol: 'tcp' as const }],
    mac: '02:00:00:00:00:64',
  };
  const steps: CniStep[] = [
    { do: 'make-netns', name: 'a' },
    addStep(place, network, 'a', { capabilities, args: { IgnoreUnknown: '1' } }),
  ];
  await applier.apply(undoable(...steps), signal);
  assert.deepEqual(await applier.pending(undoable(...steps)), []);
  assert.match(await shell('iptables-save', '-t', 'nat'), /--dport 8064 .*10\.64\.0\.2:80|8064/);
  assert.match(await shell('ip', 'netns', 'exec', 'a', 'ip', 'link', 'show', 'eth0'), /02:00:00:00:00:64/);
  const path = place.record('a');
  await applier.apply(finished({ do: 'cni-del', path }, { do: 'remove-netns', name: 'a' }), signal);
  assert.doesNotMatch(await shell('iptables-save', '-t', 'nat'), /8064/);
});

test('a plugin that fails is told by its words, and those before it have let go', async () => {
  await using place = await usePlace();
  const before = await state(place, 'net65');
  const path = await usePlugin(
    place,
    'breaks',
    `[ "$CNI_COMMAND" = DEL ] || { echo '{"code": 7, "msg": "no such queue", "details": "q0"}'; exit 1; }`,
  );
  const applier = cniApplier(place.journals);
  const add = addStep(place, aNetwork(65, [{ type: 'breaks' }]), 'a', { path });
  await assert.rejects(applier.apply(undoable({ do: 'make-netns', name: 'a' }, add), signal), {
    code: 'ERR_CNI_PLUGIN',
    message: 'plugin breaks of network net65 did not connect: no such queue: q0 (code 7)',
  });
  assert.deepEqual(await state(place, 'net65'), before);
  const missing = addStep(place, aNetwork(65, [{ type: 'nowhere' }]), 'a');
  await assert.rejects(applier.apply(undoable({ do: 'make-netns', name: 'a' }, missing), signal), {
    code: 'ERR_CNI_PLUGIN',
    message: /needs the plugin nowhere/,
  });
  assert.deepEqual(await state(place, 'net65'), before);
});

test('a plugin that cannot let go keeps the record, and the next go at it succeeds', async () => {
  await using place = await usePlace();
  const before = await state(place, 'net66');
  const path = await usePlugin(
    place,
    'sticks',
    `if [ "$CNI_COMMAND" = ADD ]; then exec sed 's/.*"prevResult":\\(.*\\)}$/\\1/'; fi
[ -e ${place.directory}/free ] || { echo '{"code": 11, "msg": "later"}'; exit 1; }`,
  );
  const applier = cniApplier(place.journals);
  const add = addStep(place, aNetwork(66, [{ type: 'sticks' }]), 'a', { path });
  await applier.apply(undoable({ do: 'make-netns', name: 'a' }, add), signal);
  const remove = finished({ do: 'cni-del', path: place.record('a') }, { do: 'remove-netns', name: 'a' });
  await assert.rejects(applier.apply(remove, signal), {
    code: 'ERR_CNI_PLUGIN',
    message: /later \(code 11\)/,
  });
  assert.deepEqual(await given('net66'), ['10.66.0.2']);
  await writeFile(join(place.directory, 'free'), '');
  await applier.apply(remove, signal);
  await rm(join(place.directory, 'free'));
  assert.deepEqual(await state(place, 'net66'), before);
});

/** Applies a plan as a process that is gone when it has passed so many borders. False if the plan goes through. */
async function killedAt(
  place: Place,
  plan: Parameters<ReturnType<typeof cniApplier>['apply']>[0],
  border: number,
) {
  let passed = 0;
  const killed = Promise.withResolvers<true>();
  const own = realHost('/run/spawnlet/lock', 'killed');
  // Of a process that is not there: number 1 began at another time.
  const dead = { ...own, locks: { ...own.locks, self: { ...own.locks.self, pid: 1 } } };
  const applier = cniApplier(
    place.journals,
    {
      border: () => {
        if (++passed < border) return;
        killed.resolve(true);
        return new Promise<void>(() => undefined);
      },
    },
    dead,
  );
  return Promise.race([killed.promise, applier.apply(plan, signal).then(() => false)]);
}

test('an add that is killed at any border is taken back by the next process; a removal is finished', async () => {
  await using place = await usePlace();
  const before = await state(place, 'net67', 'net68');
  const added = undoable(
    { do: 'make-netns', name: 'a' },
    addStep(place, aNetwork(67), 'a'),
    addStep(place, aNetwork(68), 'a', { interface: 'eth1' }),
  );
  const removed = finished(
    { do: 'cni-del', path: place.record('a', 'eth1') },
    { do: 'cni-del', path: place.record('a') },
    { do: 'remove-netns', name: 'a' },
  );
  let border = 1;
  for (; await killedAt(place, added, border); border++) {
    await cniApplier(place.journals).recover(signal);
    assert.deepEqual(await state(place, 'net67', 'net68'), before, `killed at border ${border}`);
  }
  assert.equal(border, 10);
  // The last one went through.
  for (border = 2; await killedAt(place, removed, border); border++) {
    await cniApplier(place.journals).recover(signal);
    assert.deepEqual(await state(place, 'net67', 'net68'), before, `killed at border ${border}`);
    await cniApplier(place.journals).apply(added, signal);
  }
  assert.deepEqual(await state(place, 'net67', 'net68'), before);
});

test('a chain that runs when spawnlet is killed runs on, and is waited for by the next process', async () => {
  await using place = await usePlace();
  const before = await state(place, 'net69');
  const gate = join(place.directory, '..', `gate-${process.pid}`);
  const path = await usePlugin(
    place,
    'waits',
    `[ "$CNI_COMMAND" = DEL ] || { read -r _ <${gate}; exec sed 's/.*"prevResult":\\(.*\\)}$/\\1/'; }`,
  );
  const add = addStep(place, aNetwork(69, [{ type: 'waits' }]), 'a', { path });
  await shell('mkfifo', gate);
  const abort = new AbortController();
  const plan = undoable({ do: 'make-netns', name: 'a' }, add);
  // What is left of a process that was killed in the middle: the journal, the record and the unit.
  const own = realHost('/run/spawnlet/lock', 'killed');
  const dead = { ...own, locks: { ...own.locks, self: { ...own.locks.self, pid: 1 } } };
  void cniApplier(place.journals, {}, dead)
    .apply(plan, abort.signal)
    .catch(() => undefined);
  await client.waitUntil(
    'spawnlet-cni-a-eth0.service',
    ({ ActiveState }) => ActiveState === 'activating',
    signal,
  );
  const done = cniApplier(place.journals).recover(signal);
  await writeFile(gate, '\n');
  assert.deepEqual(await done, ['add']);
  await rm(gate);
  assert.deepEqual(await state(place, 'net69'), before);
});

test('three reboots with a pool of five addresses leak none', async () => {
  await using place = await usePlace();
  const network = aNetwork(70, [], 29);
  const applier = cniApplier(place.journals);
  for (let boot = 1; boot <= 4; boot++) {
    const live = ['a', `b${boot}`, `c${boot}`];
    // As an agent does when it starts: what is no more lets go first.
    const stale = await staleRecords(host.files, await place.records(), new Set(live));
    await applier.apply(finished(...stale), signal);
    for (const name of live)
      await applier.apply(undoable({ do: 'make-netns', name }, addStep(place, network, name)), signal);
    assert.equal((await given('net70')).length, 3, `boot ${boot}`);
    // What a reboot takes: namespaces, and with them the boot that the records are of.
    for (const name of live) {
      await shell('umount', netnsPath(name));
      await rm(`/run/netns/${name}`);
      const path = join(place.record(name), 'attachment.json');
      const record = await readFile(path, 'utf8');
      await writeFile(path, record.replace(/"boot": "[^"]*"/, '"boot": "another"'));
    }
  }
  const stale = await staleRecords(host.files, await place.records(), new Set());
  assert.equal(stale.length, 3);
  await applier.apply(finished(...stale), signal);
  assert.deepEqual(await given('net70'), []);
  assert.equal(await readRecord(host.files, place.record('a')), undefined);
});

test('a pool that is used up is told with what to do', async () => {
  await using place = await usePlace();
  const network = aNetwork(71, [], 30);
  await using _a = await useContainer(place, 'a', [network]);
  await assert.rejects(useContainer(place, 'b', [network]), {
    code: 'ERR_CNI_PLUGIN',
    hint: /the range of the network is used up/,
  });
  assert.equal(await isNetns(host.files, 'b'), false);
});
