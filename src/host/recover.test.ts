import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import * as fc from 'fast-check';
import {
  directory,
  file,
  finished,
  journals,
  signal,
  type TestStep,
  tell,
  undoable,
  World,
} from '../../test/harness/plans.ts';
import type { SpawnletError } from './error.ts';

describe('recover', () => {
  /** Names that steps use; few, so that they meet. */
  const place = fc.constantFrom('/t/a', '/t/b', '/t/c');
  const anyStep: fc.Arbitrary<TestStep> = fc.oneof(
    fc.record({
      do: fc.constant('write-file' as const),
      path: place,
      content: fc.string(),
      mode: fc.constant(0o600),
    }),
    fc.record({ do: fc.constant('make-link' as const), path: place, target: fc.constantFrom('x', 'y') }),
    fc.record({
      do: fc.constant('make-directory' as const),
      path: fc.constant('/t/d'),
      mode: fc.constant(0o700),
    }),
    fc.constant(file('/t/d/deep', 'text')),
  );
  /** Directories come before what lies in them. */
  const steps = fc
    .array(anyStep, { maxLength: 6 })
    .map(list => [directory('/t'), directory('/t/d'), ...list]);

  test('undoes a plan that was killed at any border, whatever it was', async () => {
    await fc.assert(
      fc.asyncProperty(steps, fc.boolean(), fc.nat(24), async (list, something, border) => {
        const world = new World();
        if (something) {
          await world.files.makeDirectory('/t', 0o755);
          await world.files.write('/t/a', 'before', 0o644);
        }
        const before = world.tree();
        const killed = await world.killedAt(undoable(...list), border + 1);
        await world.applier().recover(signal);
        if (killed) assert.deepEqual(world.tree(), before);
        assert.equal(world.journal(), undefined);
      }),
    );
  });

  test('undoes it also if the command that undoes it is killed', async () => {
    const world = new World();
    await world.killedAt(undoable(tell('one'), tell('two', 'undo'), tell('three')), 9);
    await assert.rejects(world.applier().recover(signal), { code: 'ERR_UNFINISHED' });
    world.mended.add('two');
    await world.applier().recover(signal);
    assert.deepEqual([...world.done], []);
  });

  test('finishes a plan that was killed at any border, unless it had not begun', async () => {
    const plan = finished(tell('one'), tell('two'), tell('three'));
    for (let border = 1; ; border++) {
      const world = new World();
      const killed = await world.killedAt(plan, border);
      const titles = await world.applier().recover(signal);
      assert.deepEqual(titles, killed && border > 1 ? ['rm web'] : []);
      assert.deepEqual([...world.done], border > 1 ? ['one', 'two', 'three'] : []);
      if (!killed) return assert.equal(border, 10);
    }
  });

  test('cleans up after each step that had begun before it undoes any', async () => {
    const world = new World();
    await world.killedAt(undoable(tell('one'), tell('two')), 5);
    world.told.length = 0;
    await world.applier().recover(signal);
    assert.deepEqual(world.told, ['clean one', 'clean two', 'undo two', 'undo one']);
  });

  test('leaves a plan alone whose command lives', async () => {
    const world = new World();
    const at = Promise.withResolvers<void>();
    const go = Promise.withResolvers<void>();
    const border = (index: number, side: string) => {
      if (index !== 1 || side !== 'journalled') return;
      at.resolve();
      return go.promise;
    };
    const applied = world.applier({ border }).apply(undoable(tell('one'), tell('two')), signal);
    await at.promise;
    assert.deepEqual(await world.applier().recover(signal), []);
    go.resolve();
    await applied;
    assert.deepEqual([...world.done], ['one', 'two']);
  });

  test('takes a line that the kill cut short for a step that had not begun', async () => {
    const world = new World();
    await world.killedAt(undoable(tell('one'), tell('two')), 3);
    const path = Object.keys(world.files.tree()).find(name => name.endsWith('.jsonl')) ?? '';
    await world.files.append(path, '{"step":1,"pri', 0o600);
    world.told.length = 0;
    await world.applier().recover(signal);
    assert.deepEqual(world.told, ['clean one', 'undo one']);
  });

  test('goes on behind a line that was cut short, so that a second kill finds every step', async () => {
    const world = new World();
    await world.killedAt(finished(tell('one'), tell('two'), tell('three', 'apply')), 3);
    const path = Object.keys(world.files.tree()).find(name => name.endsWith('.jsonl')) ?? '';
    await world.files.append(path, '{"step":1,"pri', 0o600);
    await assert.rejects(world.applier().recover(signal), { code: 'ERR_UNFINISHED' });
    assert.match(world.journal() ?? '', /^\{"step":1,"prior":null\}$/m);
  });

  test('is done once when two commands come at the same time', async () => {
    const world = new World();
    await world.killedAt(undoable(tell('one'), tell('two')), 6);
    world.told.length = 0;
    const first = world.applier();
    world.locks = world.locks.next('spawnlet images');
    const second = world.applier();
    const titles = await Promise.all([first.recover(signal), second.recover(signal)]);
    assert.deepEqual(titles.flat(), ['run web']);
    assert.deepEqual(world.told, ['clean one', 'clean two', 'undo two', 'undo one']);
  });

  test('that fails keeps the journal, is told, and keeps hands off what it is about, and of nothing else', async () => {
    const world = new World();
    await world.killedAt(undoable(directory('/t'), file('/t/web', ''), tell('web', 'undo')), 9);
    const errors: SpawnletError[] = [];
    const applier = () => world.applier({ unrecovered: error => errors.push(error) });
    assert.deepEqual(await applier().recover(signal), []);
    assert.match(
      errors[0]?.message ?? '',
      /^'run web' was cut off and could not be taken back: web cannot undo$/,
    );
    assert.match(errors[0]?.hint ?? '', /\/state\/journal\/1-[0-9a-f]{8}\.jsonl/);
    await assert.rejects(applier().apply(undoable(file('/t/web', 'new')), signal), {
      code: 'ERR_UNFINISHED',
    });
    await applier().apply(undoable(directory('/t'), file('/t/other', 'text')), signal);
    world.mended.add('web');
    assert.deepEqual(await applier().recover(signal), ['run web']);
    assert.deepEqual(world.tree(), { '/t/': '', '/t/other': 'text' });
    await applier().apply(undoable(file('/t/web', 'new')), signal);
  });

  test('comes before a plan that begins later, of a command that was killed since', async () => {
    const world = new World();
    await world.killedAt(undoable(tell('one')), 3);
    await world.applier().apply(undoable(tell('one')), signal);
    assert.deepEqual(world.told, ['apply one', 'clean one', 'undo one', 'apply one']);
  });

  test('leaves the journal of a later version, and refuses a step that it does not know', async () => {
    const world = new World();
    await world.files.makeDirectory(journals, 0o700);
    const later = JSON.stringify({ version: 2, plan: 'unknown' });
    await world.files.write(`${journals}/7-later.jsonl`, `${later}\n`, 0o600);
    assert.deepEqual(await world.applier().recover(signal), []);
    assert.equal(world.journal(), `${later}\n`);
    const dead = world.locks.self;
    const head = { version: 1, holder: dead, title: 'odd', ifInterrupted: 'undo', steps: [{ do: 'odd' }] };
    const lines = `${JSON.stringify(head)}\n${JSON.stringify({ step: 0, prior: null })}\n`;
    await world.files.write(`${journals}/8-odd.jsonl`, lines, 0o600);
    world.locks.die();
    world.locks = world.locks.next('spawnlet ps');
    await assert.rejects(world.applier().recover(signal), { code: 'ERR_UNFINISHED', message: /step 'odd'/ });
  });
});
