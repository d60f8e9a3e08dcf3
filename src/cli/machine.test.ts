import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { outputOf } from '../../test/harness/output.ts';
import { SpawnletError } from '../host/error.ts';
import type { MachineChange, MachineStatus, MachinesApi } from '../machine/api.ts';
import { plainMachine } from '../machine/fields.ts';
import { parseInput } from './command.ts';
import type { Context } from './context.ts';
import { helpOf, helpOfAll } from './help.ts';
import { login, parsePlace, shell } from './machine-enter.ts';
import { describe } from './machine-list.ts';
import { parseHash, parsePassword, passwordOf } from './password.ts';
import { entries, findEntry } from './registry.ts';

const web = plainMachine('web', { kind: 'base', name: 'deb' });
const gone = (name: string) => new SpawnletError('ERR_NO_MACHINE', `there is no machine ${name}`);
const status: MachineStatus = {
  name: 'web',
  state: 'running',
  enabled: true,
  from: 'base:deb',
  addresses: ['10.0.0.2'],
  since: Date.parse('2026-11-22T10:00:00Z'),
  memory: 12_300_000,
  spec: web,
  os: 'Debian GNU/Linux 12 (bookworm)',
  tree: { kind: 'overlay', path: '/var/lib/machines/web', layers: ['deb'] },
  unit: 'systemd-nspawn@web.service',
  leader: 42,
  tasks: 9,
  tasksMax: 16_384,
  users: { range: 'no', why: 'an overlay cannot be id-mapped' },
  files: ['/etc/systemd/nspawn/web.nspawn'],
  snapshots: ['a'],
  pending: ['limits.nofile'],
  missing: ['/srv/gone (bound to /x)'],
};

/** Machines that remember what they were asked for; there is one, web. */
function fake(outcome: { readonly changed?: boolean; readonly notes?: readonly string[] } = {}) {
  const performed: MachineChange[] = [];
  const planned: MachineChange[] = [];
  const called: unknown[] = [];
  const check = (change: MachineChange) => {
    if ('name' in change && change.name !== undefined && change.name !== 'web') throw gone(change.name);
  };
  const api: Partial<MachinesApi> = {
    async perform(change) {
      check(change);
      performed.push(change);
      return { changed: outcome.changed ?? true, notes: outcome.notes ?? [] };
    },
    async dryRun(change) {
      check(change);
      planned.push(change);
      return 'write file /etc/x\n';
    },
    list: async () => [status],
    archivedName: async () => 'web',
    status: async () => status,
    spec: async () => web,
    snapshots: async () => [{ name: 'a', created: Date.parse('2026-11-22T09:00:00Z'), size: 1000 }],
    async exec(...words) {
      called.push(words.slice(0, 3));
      return 7;
    },
    async logs(...words) {
      called.push(words.slice(0, 2));
      return 0;
    },
  };
  return { api, performed, planned, called };
}

async function spawnlet(line: string, machines = fake().api) {
  const context = {
    machines: async () => machines,
    systemd: async () => undefined,
    signal: new AbortController().signal,
    env: { HOME: '/root' },
    listeners: {},
    host: { clock: { now: () => Date.parse('2026-11-22T10:05:00Z') } },
  } as unknown as Context;
  const found = findEntry(line.split(' '));
  assert.ok(found, line);
  const command = await found.entry.load();
  const input = parseInput(command, found.rest);
  assert.ok(input !== 'help');
  return outputOf(() => command.run(input, context));
}

let directory = '';
before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'spawnlet-test-'));
});
after(async () => rm(directory, { recursive: true }));

const ofMachines = entries.filter(({ name }) => name.startsWith('machine '));

test('spawnlet help has every command of machines under Machines', () => {
  const [, below = ''] = helpOfAll(entries).split('\nMachines\n');
  for (const { name, group } of ofMachines) {
    assert.equal(group, 'Machines');
    assert.match(below.split('\n\n')[0] ?? '', new RegExp(`^  ${name} `, 'm'));
  }
  const words =
    'create apply edit set start stop restart kill enable disable rm rename ls status shell login exec logs cp top';
  const more = 'snapshot restore snapshots clone export import passwd eject adopt profiles schema';
  for (const word of `${words} ${more}`.split(' ')) assert.ok(findEntry(['machine', word]), word);
});

test('each command has help with an example, and each that changes something has --dry-run', async () => {
  const reading = [
    'ls',
    'status',
    'shell',
    'login',
    'exec',
    'logs',
    'cp',
    'top',
    'snapshots',
    'profiles',
    'schema',
  ];
  for (const entry of ofMachines) {
    const command = await entry.load();
    assert.match(helpOf(command), /Examples\n {2}# .+\n {2}spawnlet machine /);
    const changes = !reading.includes(entry.name.slice('machine '.length));
    assert.equal('dry-run' in command.options, changes, entry.name);
  }
});

test('create makes the machine that its flags describe', async () => {
  const { api, performed } = fake();
  const { code, out } = await spawnlet('machine create new --from base:deb -m 1g --start', api);
  assert.deepEqual([code, out], [0, 'new\n']);
  assert.deepEqual(performed, [
    { do: 'create', spec: { ...web, name: 'new', limits: { memory: 1024 ** 3 } }, start: true },
  ]);
});

test('create --dry-run prints the plan and changes nothing', async () => {
  const { api, performed, planned } = fake();
  const { out } = await spawnlet('machine create new --from base:deb --dry-run', api);
  assert.equal(out, 'write file /etc/x\n');
  assert.deepEqual([performed.length, planned.length], [0, 1]);
});

test('create takes a command behind --, with --no-boot alone', async () => {
  const { api, performed } = fake();
  await spawnlet('machine create job --from base:deb --no-boot -- sleep -x 9', api);
  const [change] = performed;
  assert.deepEqual(change?.do === 'create' && change.spec.start, {
    kind: 'command',
    argv: ['sleep', '-x', '9'],
  });
  for (const line of [
    'machine create job --from base:deb -- sleep',
    'machine create job --from base:deb --no-boot',
  ])
    await assert.rejects(spawnlet(line), { code: 'ERR_USAGE' });
});

test('what is wrong is refused before machines are looked at', async () => {
  const untouched: Partial<MachinesApi> = {};
  for (const [line, code] of [
    ['machine create Web --from base:deb', 'ERR_MACHINE_NAME'],
    ['machine create web', 'ERR_USAGE'],
    ['machine create web --from base:deb --volume /a:/b', 'ERR_FLAG_REFUSED'],
    ['machine create web --from base:deb --profile nestd', 'ERR_USAGE'],
    ['machine create web --from base:deb --ssh-key /not/there.pub', 'ERR_USAGE'],
    ['machine start web we_b', 'ERR_MACHINE_NAME'],
    ['machine stop -t soon web', 'ERR_FLAG_VALUE'],
    ['machine kill -s NOTHING web', 'ERR_SIGNAL'],
    ['machine rename web -- -x', 'ERR_MACHINE_NAME'],
    ['machine set web memory', 'ERR_USAGE'],
    ['machine apply', 'ERR_USAGE'],
    ['machine apply -f /not/there.yaml', 'ERR_USAGE'],
    ['machine snapshot web a/b', 'ERR_MACHINE_NAME'],
    ['machine export web web.zip', 'ERR_USAGE'],
    ['machine cp a b', 'ERR_USAGE'],
    ['machine cp a web:b', 'ERR_USAGE'],
    ['machine logs --console -u x web', 'ERR_FLAG_CONFLICT'],
    ['machine passwd -u Ann web', 'ERR_FLAG_VALUE'],
    ['machine passwd --password-hash $6$a$b web', 'ERR_FLAG_REFUSED'],
    ['machine create web --from base:deb --password-hash=$6$a$b', 'ERR_FLAG_REFUSED'],
    ['machine profiles nestd', 'ERR_USAGE'],
  ] as const)
    await assert.rejects(async () => spawnlet(line, untouched), { code }, line);
});

test('several names are all tried, and each error is told', async () => {
  const { api, performed } = fake();
  const { code, out, err } = await spawnlet('machine start nope web', api);
  assert.deepEqual([code, out], [125, 'web\n']);
  assert.equal(err, 'spawnlet: there is no machine nope [ERR_NO_MACHINE]\n');
  assert.deepEqual(performed, [{ do: 'start', name: 'web' }]);
  await assert.rejects(spawnlet('machine start nope'), { code: 'ERR_NO_MACHINE' });
});

test('what people should know of a change goes to standard error', async () => {
  const { out, err } = await spawnlet('machine stop -t 3 web', fake({ notes: ['web was killed'] }).api);
  assert.deepEqual([out, err], ['web\n', 'spawnlet: web was killed\n']);
});

test('import tells the name of the machine that it has made, whoever gave it', async () => {
  for (const [words, name] of [
    ['web.tar', 'web'],
    ['old.tar web', 'web'],
  ] as const) {
    const { api, performed } = fake();
    assert.equal((await spawnlet(`machine import ${words}`, api)).out, `${name}\n`);
    const [file = ''] = words.split(' ');
    assert.deepEqual(performed, [{ do: 'import', file: join(process.cwd(), file), name, trust: false }]);
  }
});

test('rm removes machines, snapshots, and with --ignore what is not there', async () => {
  const { api, performed } = fake();
  const { out } = await spawnlet('machine rm -f -i web/a web nope', api);
  assert.equal(out, 'web/a\nweb\n');
  assert.deepEqual(performed, [
    { do: 'remove-snapshot', name: 'web', snapshot: 'a' },
    { do: 'remove', name: 'web', force: true },
  ]);
});

test('apply shows what differs, changes it, and tells whether there was anything', async () => {
  const file = join(directory, 'web.yaml');
  const head = 'apiVersion: spawnlet.io/v1alpha1\nkind: Machine\n';
  await writeFile(file, `${head}metadata: { name: web }\nspec: { from: "base:deb" }\n`);
  const { api, performed } = fake({ changed: false });
  const { out, err } = await spawnlet(`machine apply -f ${file}`, api);
  assert.deepEqual([out, err], ['web: unchanged\n', 'write file /etc/x\n']);
  assert.deepEqual(performed, [{ do: 'apply', spec: web }]);
  await writeFile(file, `${head}metadata: { name: web }\nspec: { from: "base:deb", memory: 1G }\n`);
  await assert.rejects(spawnlet(`machine apply --dry-run -f ${file}`, {}), {
    code: 'ERR_MACHINE_FILE',
    message: /web\.yaml:4: spec\.memory is not known/,
  });
});

test('set changes fields by flags’ words and by paths', async () => {
  const { api, performed } = fake();
  const { out } = await spawnlet('machine set -q web memory=1g limits.tasks=5 enable=true', api);
  assert.equal(out, 'web: changed\n');
  assert.deepEqual(performed, [
    { do: 'apply', spec: { ...web, enabled: true, limits: { memory: 1024 ** 3, tasks: 5 } } },
  ]);
});

test('exec passes words and the exit code on', async () => {
  const { api, called } = fake();
  const { code } = await spawnlet('machine exec -i -e A=1 -u ann web -- ls -l', api);
  assert.equal(code, 7);
  const asked = { env: ['A=1'], terminal: false, stdin: true, user: 'ann' };
  assert.deepEqual(called, [['web', ['ls', '-l'], asked]]);
});

test('a place is of a machine if there is a name and a colon', () => {
  assert.deepEqual(parsePlace('web:/etc'), { kind: 'machine', machine: 'web', path: '/etc' });
  assert.deepEqual(parsePlace('/a:/b'), { kind: 'host', path: '/a:/b' });
  assert.deepEqual(parsePlace('/a/.'), { kind: 'host', path: '/a/.' });
  assert.throws(() => parsePlace('Web:/etc'), { code: 'ERR_MACHINE_NAME' });
});

test('ls is a table, or a document with exact times', async () => {
  const { out } = await spawnlet('machine ls');
  assert.match(out, /^NAME +STATE .*\nweb +running +5 minutes +enabled +12\.3 MB +10\.0\.0\.2 +base:deb\n$/);
  const document = JSON.parse((await spawnlet('machine ls -o json')).out) as { since: string }[];
  assert.equal(document[0]?.since, '2026-11-22T10:00:00.000Z');
  assert.equal((await spawnlet('machine ls -q')).out, 'web\n');
});

test('status -o yaml is the file that apply takes', async () => {
  const { out } = await spawnlet('machine status -o yaml web');
  const file = join(directory, 'status.yaml');
  await writeFile(file, out);
  const { api, performed } = fake();
  await spawnlet(`machine apply -f ${file}`, api);
  assert.deepEqual(performed, [{ do: 'apply', spec: web }]);
});

test('status tells what a machine does, its files, and what waits', () => {
  const text = describe(status, 'kind: Machine\n', Date.parse('2026-11-22T10:05:00Z'));
  assert.match(text, /^web\n {5}State: running for 5 minutes, starts at boot\n/);
  assert.match(text, /Tree: \/var\/lib\/machines\/web \(overlay on deb\)\n/);
  assert.match(text, /Users: no \(an overlay cannot be id-mapped\)\n/);
  assert.match(text, /Files: \/etc\/systemd\/nspawn\/web\.nspawn\n/);
  assert.match(text, /At restart: limits\.nofile\n/);
  assert.match(text, /Missing: \/srv\/gone \(bound to \/x\)\n/);
  assert.match(text, /\n\n {4}kind: Machine\n$/);
});

test('profiles tells a sentence for each line of a profile', async () => {
  const { out } = await spawnlet('machine profiles nested');
  assert.match(out, /^nested\n {2}\[/);
  assert.match(out, /SystemCallFilter=@keyring bpf\n {6}\S.*\.\n/);
  assert.doesNotMatch(out, /^privileged$/m);
});

test('a password is one line, and a wrong hash is not repeated', async () => {
  assert.deepEqual(parsePassword('secret'), { kind: 'plain', text: 'secret' });
  for (const text of ['', 'a\nb', 'a\0b']) assert.throws(() => parsePassword(text), { code: 'ERR_PASSWORD' });
  assert.deepEqual(await passwordOf({ lock: true }), { kind: 'locked' });
  await assert.rejects(passwordOf({ lock: true, 'password-hash-stdin': true }), {
    code: 'ERR_FLAG_CONFLICT',
  });
  assert.deepEqual(parseHash('$6$salt$hash'), { kind: 'hash', hash: '$6$salt$hash' });
  assert.throws(
    () => parseHash('hunter2'),
    (error: SpawnletError) => {
      assert.equal(error.code, 'ERR_PASSWORD');
      assert.doesNotMatch(`${error.message} ${error.hint}`, /hunter2/);
      return true;
    },
  );
});

test('a shell and a login are refused where standard input is no terminal, with the command that takes one', async t => {
  const before = process.stdin.isTTY;
  t.after(() => Object.assign(process.stdin, { isTTY: before }));
  Object.assign(process.stdin, { isTTY: false });
  for (const [command, word, hint] of [
    [shell, 'm1', 'spawnlet machine exec -i m1 -- sh'],
    [shell, 'ann@m1', 'spawnlet machine exec -i -u ann m1 -- sh'],
    [login, 'm1', 'spawnlet machine exec -i m1 -- sh'],
  ] as const)
    await assert.rejects(command.run({ options: {}, arguments: [word] }, {} as Context), {
      code: 'ERR_NO_TERMINAL',
      hint,
    });
});
