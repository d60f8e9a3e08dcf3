// A host that boots again brings its machines up: those that are enabled, in order, each once.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { checkout, useLab } from '../harness/lab.ts';
import { base, baseScript } from './machines.ts';

const spawnlet = join(checkout, 'bin/spawnlet');

for (const suite of ['bookworm', 'trixie']) {
  test(`a ${suite} host brings its enabled machines up again, in order, each once`, async t => {
    await using lab = await useLab({ suite, test: t });
    const machine = (...words: string[]) => lab.read([spawnlet, 'machine', ...words]);
    await lab.read(['sh', '-euc', baseScript]);
    const create = (name: string, ...flags: string[]) =>
      machine('create', name, '--from', base, '--network', 'none', ...flags);
    await create('second', '--enable', '--autostart-order=2');
    await create('third', '--enable', '--autostart-order=3', '--autostart-delay=1');
    await create('first', '--enable', '--autostart-order=1');
    await create('never');
    await lab.read(['sh', '-c', 'echo stays >/var/lib/machines/first/srv/text']);
    await machine('start', 'second', 'never');

    await lab.reboot();

    const show = async (name: string, property: string) =>
      (await lab.read(['systemctl', 'show', '-P', property, `systemd-nspawn@${name}`])).trim();
    for (const name of ['first', 'second', 'third']) {
      assert.equal(await show(name, 'ActiveState'), 'active', name);
      assert.equal(await show(name, 'NRestarts'), '0', name);
      const log = await lab.read(['journalctl', '-b', '-o', 'cat', '-u', `systemd-nspawn@${name}`]);
      assert.equal(log.match(/^Started systemd-nspawn@/gm)?.length, 1, name);
    }
    assert.equal(await show('never', 'ActiveState'), 'inactive');
    const [first, second, third] = await Promise.all(
      ['first', 'second', 'third'].map(async name => ({
        begun: Number(await show(name, 'InactiveExitTimestampMonotonic')),
        up: Number(await show(name, 'ActiveEnterTimestampMonotonic')),
        main: Number(await show(name, 'ExecMainStartTimestampMonotonic')),
      })),
    );
    assert.ok(first && second && third);
    assert.ok(first.up <= second.begun, 'the second waits for the first');
    assert.ok(second.up <= third.begun, 'the third waits for the second');
    assert.ok(third.main - third.begun >= 1e6, 'the third is delayed');
    assert.equal(await lab.read(['cat', '/var/lib/machines/first/srv/text']), 'stays\n');
    assert.match(await machine('ls'), /^never +stopped .*\n(?:.*running.*\n?)*/m);
  });
}
