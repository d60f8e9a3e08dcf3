import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { ended } from '../../src/host/child.ts';
import { eventually } from '../app/tools.ts';
import { checkout, host, useLab } from '../harness/lab.ts';

const spawnlet = join(checkout, 'bin/spawnlet');
const run = (argv: readonly string[], input?: Uint8Array) =>
  host.children.capture([spawnlet, 'lab', ...argv], input ? { input } : {});

test('lab exec passes bytes and the exit code, and sets what it is asked to', async t => {
  await using lab = await useLab({ test: t });
  const input = randomBytes(1_000_000);
  const echoed = await run(['exec', lab.name, '--', 'sh', '-c', 'cat; echo no >&2; exit 9'], input);
  assert.ok(echoed.stdout.equals(input));
  assert.equal(echoed.stderr, 'no\n');
  assert.equal(echoed.code, 9);
  const set = await run(['exec', '-e', 'A=b c', '-w', '/usr', lab.name, 'sh', '-c', 'echo "$A $PWD"']);
  assert.equal(set.stdout.toString(), 'b c /usr\n');
});

test('lab status tells of a lab, and of one that is not there', async t => {
  await using lab = await useLab({ suite: 'trixie', test: t });
  const [row] = JSON.parse((await run(['status', lab.name, '-o', 'json'])).stdout.toString());
  assert.equal(row.state, 'running');
  assert.equal(row.suite, 'trixie');
  assert.equal(row.address, lab.address);
  for (const words of [
    ['status', 'no-such-lab'],
    ['exec', 'no-such-lab', 'true'],
  ]) {
    const none = await run(words);
    assert.equal(none.code, 125);
    assert.match(none.stderr, /ERR_LAB_NOT_FOUND/, words.join(' '));
  }
});

test('lab down takes several names, and tells of each that is not there', async () => {
  const { code, stderr } = await run(['down', 'no-such-lab', 'nor-this']);
  assert.equal(code, 125);
  assert.match(stderr, /no lab no-such-lab \[ERR_LAB_NOT_FOUND\]\n.*no lab nor-this \[ERR_LAB_NOT_FOUND\]/);
  assert.match(
    (await run(['down', 'no-such-lab'])).stderr,
    /ERR_LAB_NOT_FOUND\]\n  spawnlet lab status lists them/,
  );
});

test('a lab that is there with other settings is not changed, and without flags it starts as it is', async t => {
  await using lab = await useLab({ test: t });
  const asItIs = await run(['up', lab.name]);
  assert.equal(asItIs.code, 0, asItIs.stderr);
  await run(['exec', lab.name, 'poweroff', '--force']);
  await eventually(
    async () => /ERR_LAB_NOT_RUNNING/.test((await run(['exec', lab.name, 'true'])).stderr) || undefined,
    'it is off',
  );
  const started = await run(['up', lab.name]);
  assert.equal(started.code, 0, started.stderr);
  assert.equal((await run(['exec', lab.name, 'true'])).code, 0);
  const again = await run(['up', lab.name, '--memory', '1g']);
  assert.equal(again.code, 125);
  assert.match(again.stderr, /this asks for .*--memory 1073741824.*ERR_LAB_EXISTS/);
});

test('--dry-run shows the plan and does nothing', async t => {
  // A tree that is there is no step.
  await using _lab = await useLab({ test: t });
  const dry = await run(['up', 'dry', '--memory', '1g', '--dry-run']);
  assert.match(dry.stdout.toString(), /^make cgroup spawnlet-lab-dry .*1073741824 bytes/m);
  assert.doesNotMatch(dry.stdout.toString(), /nothing to do|build a/);
  assert.equal((await run(['status', 'dry'])).code, 125);
});

test('a terminal in a lab has the size of the one it is on, and follows it', async t => {
  await using lab = await useLab({ test: t });
  const inside = "trap 'stty size; exit 3' WINCH; tty; stty size; while :; do sleep 0.02; done";
  const outside = `tty; stty rows 33 cols 101; exec ${spawnlet} lab exec -t ${lab.name} bash -c "${inside}"`;
  const child = host.children.spawn(['script', '--quiet', '--return', '--command', outside, '/dev/null'], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const end = ended(child);
  assert.ok(child.stdout);
  const lines: string[] = [];
  for await (const line of createInterface({ input: child.stdout })) {
    lines.push(line.trim());
    if (lines.length === 3) execFileSync('stty', ['-F', lines[0] ?? '', 'rows', '20', 'cols', '55']);
  }
  assert.match(lines[1] ?? '', /^\/dev\/pts\/\d+$/);
  assert.deepEqual(lines.slice(2), ['33 101', '20 55']);
  assert.equal(await end, 3);
});

test('lab shell is refused where standard input is no terminal, with the command that takes one', async () => {
  const { code, stderr } = await run(['shell', 'some'], Buffer.from('id\n'));
  assert.equal(code, 125);
  assert.match(stderr, /ERR_NO_TERMINAL.*\n {2}spawnlet lab exec some -- sh\n/);
});

test('lab shell is a login on a terminal, with spawnlet in its PATH, and ends as the shell does', async t => {
  await using lab = await useLab({ test: t });
  const child = host.children.spawn(
    ['script', '--quiet', '--return', '--command', `${spawnlet} lab shell ${lab.name}`, '/dev/null'],
    { stdio: ['pipe', 'pipe', 'inherit'] },
  );
  const end = ended(child);
  assert.ok(child.stdin && child.stdout);
  child.stdin.write('tty; id -un; hostname; spawnlet version; exit 4\n');
  let said = '';
  for await (const chunk of child.stdout) said += String(chunk);
  for (const line of [
    /^\/dev\/pts\/\d+\r$/m,
    /^root\r$/m,
    new RegExp(`^${lab.name}\r$`, 'm'),
    /^spawnlet \d/m,
  ])
    assert.match(said, line);
  assert.equal(await end, 4);
});
