// runs in a lab: bookworm trixie
// Commands, files and terminals of machines that run, through their own systemd.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { after, before, describe, test } from 'node:test';
import { ended } from '../../src/host/child.ts';
import { realHost } from '../../src/host/host.ts';
import { copyFiles, type End } from '../../src/machine/copy.ts';
import { execCall, execInMachine } from '../../src/machine/exec.ts';
import { setPassword } from '../../src/machine/password.ts';
import { type Running, runningMachine } from '../../src/machine/running.ts';
import { usesOf } from '../../src/machine/top.ts';
import { execDirectory, lockDirectory } from '../../src/names.ts';
import { SystemdClient } from '../../src/systemd/client.ts';
import { system } from '../app/tools.ts';
import { type Booted, boot } from './booted.ts';

const signal = AbortSignal.timeout(300_000);
const host = realHost(lockDirectory, 'exec test');
let systemd: SystemdClient;
let booted: Booted;
let commanded: Booted;
let machine: Running;
let alone: Running;
let work: string;

before(async () => {
  systemd = await SystemdClient.connect({ signal });
  work = await mkdtemp(join(tmpdir(), 'exec-'));
  [booted, commanded] = [
    await boot({}, { tree: { kind: 'plain' } }),
    await boot({ start: { kind: 'command', argv: ['/bin/sleep', 'infinity'] } }, { ready: 'started' }),
  ];
  machine = await runningMachine(booted.spec, systemd, host.files, signal);
  alone = await runningMachine(commanded.spec, systemd, host.files, signal);
});

after(async () => {
  await booted?.[Symbol.asyncDispose]();
  await commanded?.[Symbol.asyncDispose]();
  await systemd[Symbol.asyncDispose]();
  await rm(work, { recursive: true, force: true });
});

type Options = Partial<Parameters<typeof execCall>[3]> & { readonly input?: string };

/** A command in a machine to its end. */
async function exec(where: Running, argv: readonly string[], { input, ...options }: Options = {}) {
  const call = await execCall(host, where, argv, { env: [], terminal: false, ...options });
  const { code, stdout, stderr } = await host.children.capture(call.argv, {
    input: input ?? '',
    env: { ...process.env, ...call.env },
  });
  return { code, stdout: stdout.toString(), stderr };
}

const line = (file: string, key: string) => new RegExp(`^${key}:\\s*(.*)$`, 'm').exec(file)?.[1];

for (const [title, where] of [
  ['a machine with systemd', () => machine],
  ['a machine of one command', () => alone],
] as const)
  describe(`a command in ${title}`, () => {
    test('has its streams apart, and its words, variables and directory as they were given', async () => {
      const words = ['$HOME', '$$', '${PATH}', '%n', 'a b', '"\'\\', ''];
      const script = 'printf "%s|" "$@"; echo; pwd; echo "$GREETING"; cat; echo oops >&2';
      const { code, stdout, stderr } = await exec(where(), ['sh', '-c', script, 'sh', ...words], {
        env: ['GREETING=a $b %c "d"'],
        directory: '/usr',
        input: 'from outside',
      });
      assert.deepEqual(stdout.split('\n'), [`${words.join('|')}|`, '/usr', 'a $b %c "d"', 'from outside']);
      assert.deepEqual([code, stderr], [0, 'oops\n']);
    });

    test('tells its end as a shell does', async () => {
      const codes: number[] = [];
      for (const argv of [
        ['sh', '-c', 'exit 203'],
        ['sh', '-c', 'kill -KILL $$'],
        ['sh', '-c', 'kill -TERM $$'],
        ['no-such-program'],
        ['/etc/passwd'],
      ])
        codes.push((await exec(where(), argv)).code);
      assert.deepEqual(codes, [203, 137, 143, 127, 126]);
    });

    test('has what the machine has, and no more: cgroup, namespaces, capabilities, system calls', async () => {
      const { leader } = where();
      const own = await readFile(`/proc/${leader}/status`, 'latin1');
      const { stdout } = await exec(where(), ['sh', '-c', 'cat /proc/self/status; cat /proc/self/cgroup']);
      assert.equal(line(stdout, 'CapBnd'), line(own, 'CapBnd'));
      assert.equal(line(stdout, 'CapPrm'), line(own, 'CapBnd'));
      assert.equal(line(stdout, 'Seccomp'), '2');
      const call = await execCall(host, where(), ['sleep', 'infinity'], { env: [], terminal: false });
      const end = ended(spawn(call.argv[0] ?? '', call.argv.slice(1), { stdio: 'ignore' }));
      const group = (await system('systemctl', 'show', '-P', 'ControlGroup', booted.unit)).trim();
      const wanted = where() === machine ? group : group.replace(booted.name, commanded.name);
      const unit = call.stop.at(-1) ?? '';
      const pid = await started(where(), unit);
      assert.ok((await readFile(`/proc/${pid}/cgroup`, 'latin1')).includes(`:${wanted}`));
      assert.equal(await namespaces(Number(pid)), await namespaces(leader));
      await host.children.capture(call.stop);
      await end;
    });

    test('has values of variables that no other user of the host sees', async () => {
      const secret = `hunter-${where().name}`;
      const script = 'echo "$TOKEN"; exec sleep infinity';
      const options = { env: [`TOKEN=${secret}`, 'LD_LIBRARY_PATH=/x'], terminal: false };
      await using call = await execCall(host, where(), ['sh', '-c', script], options);
      const child = spawn(call.argv[0] ?? '', call.argv.slice(1), {
        stdio: ['ignore', 'pipe', 'inherit'],
        env: { ...process.env, ...call.env },
      });
      const end = ended(child);
      const [said] = (await once(child.stdout, 'data')) as [Buffer];
      assert.equal(said.toString(), `${secret}\n`);
      const shown = await system('systemctl', 'show', '*', '--all');
      const lists = await system('sh', '-c', 'cat /proc/[0-9]*/cmdline 2>/dev/null || :');
      assert.ok(!`${shown}${lists}`.includes(secret));
      assert.deepEqual(await host.files.list(execDirectory), []);
      await host.children.capture(call.stop);
      await end;
    });

    test('runs as a user of the machine, and not as one that it has not', async () => {
      const { stdout } = await exec(where(), ['id', '-un'], { user: 'daemon' });
      assert.equal(stdout, 'daemon\n');
      const options = { env: [], user: 'nobody-here', terminal: false, stdin: false };
      await assert.rejects(execInMachine(host, where(), ['true'], options, signal), {
        code: 'ERR_GUEST_USER',
      });
    });

    test('is ended in the machine when it is aborted', async () => {
      const abort = new AbortController();
      const options = { env: [], terminal: false, stdin: false };
      const running = execInMachine(host, where(), ['sleep', '987654'], options, abort.signal);
      await eventually(() => system('pgrep', '-f', '^sleep 987654'));
      abort.abort(new Error('enough'));
      await assert.rejects(running, { message: 'enough' });
      assert.equal((await host.children.capture(['pgrep', '-f', '^sleep 987654'])).code, 1);
    });
  });

/** What a journal has from here on, once all that was sent to it is there. */
async function journalOf(...where: readonly string[]) {
  const said = await system('journalctl', ...where, '--lines=1', '--show-cursor', '--output=cat');
  const cursor = /^-- cursor: (.*)$/m.exec(said)?.[1] ?? '';
  return async () => {
    if (where.length === 0) await system('journalctl', '--sync');
    return system('journalctl', ...where, `--after-cursor=${cursor}`, '--output=cat', '--no-pager');
  };
}

test('that a command began and ended is not told to the journal of the host', async () => {
  const after = await journalOf();
  for (const where of [machine, alone])
    for (const code of [0, 3]) assert.equal((await exec(where, ['sh', '-c', `exit ${code}`])).code, code);
  assert.doesNotMatch(await after(), /spawnlet-exec-/);
});

test('what a command tells the journal of its machine is there, and none of its arguments', async () => {
  const after = await journalOf(`--machine=${machine.name}`);
  await exec(machine, ['sh', '-c', 'echo told | systemd-cat --priority=debug', 'secret']);
  const said = await eventually(async () => {
    const text = await after();
    assert.match(text, /^told$/m);
    return text;
  });
  assert.match(said, /^Started spawnlet-exec-\w+\.service - Command of spawnlet: sh\.$/m);
  assert.doesNotMatch(said, /secret/);
});

/** Every namespace of a process, as the kernel numbers them. */
async function namespaces(pid: number): Promise<string> {
  const kinds = ['mnt', 'pid', 'net', 'ipc', 'uts', 'user'];
  return system('readlink', ...kinds.map(kind => `/proc/${pid}/ns/${kind}`));
}

/** The host's number of the command of a unit that has just been started. */
function started(where: Running, unit: string): Promise<string> {
  const own = where === machine ? [`--machine=${machine.name}`] : [];
  return eventually(async () => {
    await system('systemctl', ...own, 'is-active', unit);
    return (await system('pgrep', '-f', '^sleep infinity$', '--newest')).trim();
  });
}

async function eventually<T>(look: () => Promise<T>): Promise<T> {
  const deadline = performance.now() + 20_000;
  for (;;) {
    try {
      return await look();
    } catch (error) {
      if (performance.now() > deadline) throw error;
      await new Promise(resolve => setImmediate(resolve));
    }
  }
}

describe('a terminal', () => {
  test("is the machine's own, of the caller's size, and gives the exit code", async () => {
    const script = `
      const { realHost } = await import(${JSON.stringify(join(import.meta.dirname, '../../src/host/host.ts'))});
      const { execInMachine } = await import(${JSON.stringify(join(import.meta.dirname, '../../src/machine/exec.ts'))});
      const options = { env: ['A=b'], user: 'root', directory: '/usr', terminal: true, stdin: true };
      const argv = ['sh', '-c', 'test -t 0 && test -t 2; echo "$? $(tty) $(stty size) $A $(pwd)"; exit 7'];
      process.exitCode = await execInMachine(realHost('/run', 'x'), ${JSON.stringify(machine)}, argv, options, new AbortController().signal);`;
    const file = join(work, 'terminal.ts');
    await writeFile(file, script);
    const command = `stty rows 33 cols 101; exec ${process.execPath} ${file}`;
    const child = spawn('script', ['-qec', command, '/dev/null'], { stdio: ['pipe', 'pipe', 'inherit'] });
    const [code, said] = await Promise.all([ended(child), text(child.stdout)]);
    assert.match(said, /0 \/dev\/pts\/\d+ 33 101 b \/usr/);
    assert.equal(code, 7);
    assert.deepEqual(await host.files.list(join(booted.tree, 'tmp')), []);
  });
});

describe('files', () => {
  const at = (path: string): End => ({ kind: 'running', machine, path });
  const tree = (path: string): End => ({
    kind: 'stopped',
    machine: 'stopped',
    root: join(work, 'tree'),
    path,
  });
  const here = (path: string): End => ({ kind: 'host', path: join(work, path) });

  test('go into a machine that runs and come back, with their modes', async () => {
    await mkdir(join(work, 'in/deep'), { recursive: true });
    await writeFile(join(work, 'in/deep/run'), 'one', { mode: 0o750 });
    await copyFiles(host, here('in'), at('/srv'), signal);
    assert.equal((await exec(machine, ['stat', '-c%a %U', '/srv/in/deep/run'])).stdout, '750 root\n');
    await copyFiles(host, at('/srv/in/.'), here('out'), signal);
    assert.equal(await readFile(join(work, 'out/deep/run'), 'utf8'), 'one');
    assert.equal((await stat(join(work, 'out/deep/run'))).mode & 0o777, 0o750);
    await copyFiles(host, at('/srv/in/deep/run'), here('file'), signal);
    await copyFiles(host, here('file'), at('/srv/in/deep/run'), signal);
    await assert.rejects(copyFiles(host, at('/nowhere'), here('x'), signal), { code: 'ERR_GUEST_COPY' });
  });

  test('of a tree that does not run never come from outside of it, nor go there', async () => {
    const root = join(work, 'tree');
    await mkdir(join(root, 'etc'), { recursive: true });
    await writeFile(join(work, 'secret'), 'secret');
    await writeFile(join(work, 'new'), 'new');
    await symlink(join(work, 'secret'), join(root, 'etc/leak'));
    await symlink(work, join(root, 'out'));
    await assert.rejects(copyFiles(host, tree('/etc/leak'), here('got'), signal), { code: 'ERR_GUEST_COPY' });
    await copyFiles(host, here('new'), tree('/etc/leak'), signal);
    assert.equal(await readFile(join(root, 'etc/leak'), 'utf8'), 'new');
    await copyFiles(host, here('new'), tree('/out/secret'), signal);
    assert.equal(await readFile(join(work, 'secret'), 'utf8'), 'secret');
    assert.equal(await readFile(join(root, work, 'secret'), 'utf8'), 'new');
    await mkdir(join(work, 'dir/out'), { recursive: true });
    await writeFile(join(work, 'dir/out/secret'), 'harm');
    await copyFiles(host, here('dir/.'), tree('/'), signal);
    assert.equal(await readFile(join(work, 'secret'), 'utf8'), 'secret');
    await copyFiles(host, tree('/etc'), here('back'), signal);
    assert.equal(await readFile(join(work, 'back/leak'), 'utf8'), 'new');
  });
});

test('values that a killed command has left are gone with the next one', async () => {
  const left = join(execDirectory, '.1-1-01234567~');
  await mkdir(execDirectory, { recursive: true });
  await writeFile(left, 'A="b"\n');
  assert.equal((await exec(alone, ['sh', '-c', 'echo $A'], { env: ['A=c'] })).stdout, 'c\n');
  assert.deepEqual(await host.files.list(execDirectory), []);
  await assert.rejects(exec(alone, ['true'], { env: ['A-B=c'] }), { code: 'ERR_UNIT_VALUE' });
});

test('a password of a running machine is set by its own chpasswd, where it has one', async () => {
  const has = (await exec(machine, ['sh', '-c', 'command -v chpasswd'])).code === 0;
  const password = { kind: 'plain', text: "it's $HOME\\n" } as const;
  const setting = setPassword(host, machine, 'root', password, signal);
  if (!has) {
    await assert.rejects(setting, { code: 'ERR_GUEST_USER' });
    return;
  }
  await setting;
  const shadow = await readFile(join(booted.tree, 'etc/shadow'), 'utf8');
  const hash = /^root:([^:]*):/m.exec(shadow)?.[1] ?? '';
  const [, method, salt, ...more] = hash.split('$');
  assert.match(hash, /^\$[0-9y]/);
  const check = 'print crypt($ARGV[0], $ARGV[1]) eq $ARGV[1] ? "same" : "other"';
  assert.equal(
    await system('perl', '-e', check, password.text, hash),
    'same',
    `${method} ${salt} ${more.length}`,
  );
  await assert.rejects(setPassword(host, machine, 'nobody-here', password, signal), {
    code: 'ERR_GUEST_USER',
  });
});

test('what a machine uses is what systemd has counted for it', async () => {
  const [use] = await usesOf([machine.name], systemd, signal);
  assert.ok(use && (use.tasks ?? 0) > 3 && (use.memory ?? 0) > 1_000_000, JSON.stringify(use));
});

test('a machine that does not run has nothing to run a command in', async () => {
  await assert.rejects(
    runningMachine({ name: 'nobody', start: { kind: 'boot' } }, systemd, host.files, signal),
    {
      code: 'ERR_NOT_RUNNING',
    },
  );
});
