import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import * as fc from 'fast-check';
import { makeApplier, type Plan, type Watchers } from './apply.ts';
import { FakeChildren } from './child.ts';
import { SpawnletError } from './error.ts';
import { FakeFiles } from './files.ts';
import { FakeLocks } from './lock.ts';
import { type Executors, type HostStep, hostExecutors } from './step.ts';

/** A step that does nothing but tell; `fails` says where. */
type Told = { readonly do: 'tell'; readonly name: string; readonly fails?: 'apply' | 'undo' | 'clean' };
type TestStep = HostStep | Told;

const journals = '/state/journal';
const signal = new AbortController().signal;

class World {
  readonly files = new FakeFiles();
  readonly told: string[] = [];
  readonly done = new Set<string>();
  /** Steps that fail no more. */
  readonly mended = new Set<string>();
  locks = new FakeLocks('spawnlet run web');

  #executors(): Executors<TestStep> {
    const say = (what: 'apply' | 'undo' | 'clean', { name, fails }: Told) => {
      this.told.push(`${what} ${name}`);
      if (fails === what && !this.mended.has(name))
        throw new SpawnletError('ERR_TOLD', `${name} cannot ${what}`);
    };
    return {
      ...hostExecutors(this.files, new FakeChildren()),
      tell: {
        describe: step => `tell ${step.name}`,
        satisfied: async step => this.done.has(step.name),
        apply: async step => {
          say('apply', step);
          this.done.add(step.name);
        },
        undo: async step => {
          say('undo', step);
          this.done.delete(step.name);
        },
        clean: async step => say('clean', step),
      },
    };
  }

  applier(watchers: Watchers = {}) {
    return makeApplier<TestStep>(this.#executors(), this.files, this.locks, journals, watchers);
  }

  /** Applies a plan in a process that is killed when it has passed `border` borders. False if it goes through. */
  async killedAt(plan: Plan<TestStep>, border: number): Promise<boolean> {
    let passed = 0;
    const killed = Promise.withResolvers<true>();
    const applier = this.applier({
      border: () => {
        if (++passed < border) return;
        killed.resolve(true);
        return new Promise<void>(() => undefined);
      },
    });
    const wasKilled = await Promise.race([killed.promise, applier.apply(plan, signal).then(() => false)]);
    this.locks.die();
    this.locks = this.locks.next('spawnlet ps');
    return wasKilled;
  }

  /** All but the journal's directory. */
  tree(): Record<string, string> {
    const { [`${journals}/`]: _directory, '/state/': _state, ...rest } = this.files.tree();
    return rest;
  }

  journal(): string | undefined {
    return Object.entries(this.files.tree()).find(([path]) => path.endsWith('.jsonl'))?.[1];
  }
}

const undoable = (...steps: TestStep[]): Plan<TestStep> => ({
  title: 'run web',
  ifInterrupted: 'undo',
  steps,
});
const finished = (...steps: TestStep[]): Plan<TestStep> => ({
  title: 'rm web',
  ifInterrupted: 'finish',
  steps,
});
const directory = (path: string, owns?: 'everything'): TestStep => ({
  do: 'make-directory',
  path,
  mode: 0o700,
  ...(owns && { owns }),
});
const file = (path: string, content: string): TestStep => ({ do: 'write-file', path, content, mode: 0o600 });
const tell = (name: string, fails?: Told['fails']): TestStep => ({
  do: 'tell',
  name,
  ...(fails && { fails }),
});

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
      { do: 'make-fifo', path: '/a', mode: 0o600 } as const,
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
