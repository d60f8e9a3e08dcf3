import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  directory,
  file,
  finished,
  signal,
  type TestStep,
  tell,
  undoable,
  World,
} from '../../test/harness/plans.ts';

describe('apply', () => {
  test('a second time there is nothing to do', async () => {
    const world = new World();
    const plan = undoable(
      directory('/a'),
      file('/a/unit', 'text'),
      { do: 'make-link', path: '/a/link', target: 'unit' },
      tell('start'),
    );
    await world.applier().apply(plan, signal);
    assert.deepEqual(world.tree(), { '/a/': '', '/a/link': '-> unit', '/a/unit': 'text' });
    assert.equal(world.journal(), undefined);
    assert.deepEqual(await world.applier().pending(plan), []);
    assert.equal(await world.applier().dryRun(plan), 'nothing to do\n');
    await world.applier().apply(plan, signal);
    assert.deepEqual(world.told, ['apply start']);
  });

  test('only what is not done yet is done', async () => {
    const world = new World();
    await world.applier().apply(undoable(directory('/a'), file('/a/one', '1')), signal);
    const more = undoable(directory('/a'), file('/a/one', '1'), file('/a/two', '2'));
    assert.deepEqual(await world.applier().pending(more), [file('/a/two', '2')]);
  });

  test('a dry run shows every file without its secrets, and changes nothing', async () => {
    const world = new World();
    const secret: TestStep = {
      do: 'write-file',
      path: '/a/env',
      content: 'PASSWORD=hunter2\n\nB=2\n',
      mode: 0o600,
      shown: 'PASSWORD=…\n\nB=2\n',
    };
    const text = await world.applier().dryRun(undoable(directory('/a'), secret, tell('start')));
    assert.equal(
      text,
      'make directory /a (0700)\nwrite /a/env (0600)\n  + PASSWORD=…\n\n  + B=2\ntell start\n',
    );
    assert.deepEqual(world.files.tree(), {});
  });

  test('a dry run shows of a file that is there what changes in it', async () => {
    const world = new World();
    const numbers = (last: string) => `${[1, 2, 3, 4, 5, 6].join('\n')}\n${last}\n8\n`;
    await world.applier().apply(undoable(file('/one', numbers('7'))), signal);
    assert.equal(
      await world.applier().dryRun(undoable(file('/one', numbers('seven')))),
      'write /one (0600)\n    …\n    5\n    6\n  - 7\n  + seven\n    8\n',
    );
  });

  test('the journal names the plan, who applies it and each step before it runs', async () => {
    const world = new World();
    const seen: unknown[][] = [];
    const border = () => {
      seen.push(
        (world.journal() ?? '')
          .split('\n')
          .filter(Boolean)
          .map(line => JSON.parse(line)),
      );
    };
    const plan = undoable(directory('/a'), file('/a/unit', 'text'));
    await world.applier({ border }).apply(plan, signal);
    const head = { version: 1, holder: world.locks.self, ...plan };
    const first = { step: 0, prior: null };
    const both = [head, first, { step: 1, prior: null }];
    // Before, journalled and after, for each of the two.
    assert.deepEqual(seen, [[], [head, first], [head, first], [head, first], both, both]);
  });

  test('when a step fails, those before it are undone in reverse and its own error is thrown', async () => {
    const world = new World();
    const plan = undoable(tell('one'), tell('two'), tell('three', 'apply'), tell('four'));
    await assert.rejects(world.applier().apply(plan, signal), { code: 'ERR_TOLD' });
    assert.deepEqual(world.told, [
      'apply one',
      'apply two',
      'apply three',
      'undo three',
      'undo two',
      'undo one',
    ]);
    assert.equal(world.journal(), undefined);
  });

  test('undoing puts back what was there, and leaves what others have put beside it', async () => {
    const world = new World();
    await world.files.makeDirectory('/etc', 0o755);
    await world.files.write('/etc/unit', 'of the administrator', 0o640);
    await world.files.link('/etc/link', 'elsewhere');
    await world.files.makeDirectory('/there', 0o711);
    const before = world.tree();
    let others = false;
    const border = async () => {
      if (others || !(await world.files.look('/shared'))) return;
      others = true;
      await world.files.write('/shared/other', 'of somebody else', 0o600);
    };
    const plan = undoable(
      directory('/there'),
      directory('/shared'),
      directory('/own', 'everything'),
      file('/own/a', ''),
      file('/etc/unit', 'ours'),
      { do: 'make-link', path: '/etc/link', target: 'ours' },
      tell('fails', 'apply'),
    );
    await assert.rejects(world.applier({ border }).apply(plan, signal), { code: 'ERR_TOLD' });
    assert.deepEqual(world.tree(), { ...before, '/shared/': '', '/shared/other': 'of somebody else' });
    assert.deepEqual(await world.files.look('/etc/unit'), { kind: 'file', mode: 0o640, size: 20 });
  });

  test('what is in the way is not replaced, and is there afterwards', async () => {
    const world = new World();
    await world.files.write('/a', 'a file', 0o600);
    await world.files.makeDirectory('/b', 0o700);
    for (const step of [
      directory('/a'),
      file('/b', ''),
      { do: 'make-link', path: '/b', target: 'x' } as const,
    ])
      await assert.rejects(
        world.applier().apply(undoable(step), signal),
        { code: 'ERR_IN_THE_WAY' },
        step.do,
      );
    assert.deepEqual(world.tree(), { '/a': 'a file', '/b/': '' });
  });

  test('an abort between two steps undoes the plan', async () => {
    const world = new World();
    const abort = new AbortController();
    const border = (index: number, side: string) => {
      if (index === 0 && side === 'after') abort.abort(new Error('interrupted'));
    };
    await assert.rejects(world.applier({ border }).apply(undoable(tell('one'), tell('two')), abort.signal), {
      message: 'interrupted',
    });
    assert.deepEqual(world.told, ['apply one', 'undo one']);
  });

  test('when taking back fails both errors are told, and the next command tries again though this one lives', async () => {
    const world = new World();
    const plan = undoable(tell('one'), tell('two', 'undo'), tell('three', 'apply'));
    await assert.rejects(world.applier().apply(plan, signal), {
      code: 'ERR_UNFINISHED',
      message: 'three cannot apply; and taking it back failed: two cannot undo',
    });
    assert.notEqual(world.journal(), undefined);
    world.told.length = 0;
    world.mended.add('two');
    assert.deepEqual(await world.applier().recover(signal), ['run web']);
    assert.deepEqual(
      world.told.filter(line => line.startsWith('undo')),
      ['undo three', 'undo two', 'undo one'],
    );
    assert.equal(world.journal(), undefined);
  });

  test('a plan to be finished that fails past its first step is finished by the next command', async () => {
    const world = new World();
    const plan = finished(tell('one'), tell('two', 'apply'), tell('three'));
    await assert.rejects(world.applier().apply(plan, signal), { code: 'ERR_TOLD' });
    world.mended.add('two');
    assert.deepEqual(await world.applier().recover(signal), ['rm web']);
    assert.deepEqual([...world.done], ['one', 'two', 'three']);
  });

  test('a plan to be finished that fails at its first step has not begun', async () => {
    const world = new World();
    const plan = finished(tell('one', 'apply'), tell('two'));
    await assert.rejects(world.applier().apply(plan, signal), { code: 'ERR_TOLD' });
    assert.equal(world.journal(), undefined);
  });
});
