import assert from 'node:assert/strict';
import { test } from 'node:test';
import { outputOf } from '../../test/harness/output.ts';
import type { Context } from './context.ts';
import { showBuild } from './progress.ts';

/** What is shown of a build, on a terminal or not. */
async function shown(isTTY: boolean): Promise<string> {
  const before = Object.getOwnPropertyDescriptor(process.stderr, 'isTTY');
  Object.defineProperty(process.stderr, 'isTTY', { value: isTTY, configurable: true });
  const context = { listeners: {}, host: { clock: { now: () => 0 } } } as unknown as Context;
  try {
    const { err } = await outputOf(async () => {
      using _progress = showBuild(context);
      context.listeners.building?.({ step: 'Installing debian:bookworm by mmdebstrap' });
      context.listeners.building?.({ says: 'downloading \u001b[31mpackages' });
      context.listeners.building?.({ says: 'x'.repeat(500) });
      context.listeners.building?.({ step: 'Running /srv/setup.sh' });
      context.listeners.building?.({ says: 'last' });
      return 0;
    });
    assert.deepEqual(context.listeners, {});
    return err;
  } finally {
    if (before) Object.defineProperty(process.stderr, 'isTTY', before);
    else Reflect.deleteProperty(process.stderr, 'isTTY');
  }
}

test('a build is told step by step, and on a terminal with what its programs say in one line', async () => {
  const steps = ['Installing debian:bookworm by mmdebstrap\n', 'Running /srv/setup.sh\n'] as const;
  assert.equal(await shown(false), steps.join(''));
  const clear = '\r\u001b[K';
  const long = `  ${'x'.repeat((process.stderr.columns || 80) - 3)}`;
  assert.equal(
    await shown(true),
    `${steps[0]}  downloading ?[31mpackages${clear}${long}${clear}${steps[1]}  last${clear}`,
  );
});
