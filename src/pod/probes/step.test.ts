import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import type { Answer } from './answer.ts';
import { beginning, isFinal, probeStep } from './step.ts';

type Kind = Answer['kind'];

const short: Record<string, Kind> = { s: 'success', w: 'warning', f: 'failure', e: 'error' };

/** The verdicts after each answer; `-` for none. */
function verdicts(answers: string, successThreshold: number, failureThreshold: number): string {
  let state = beginning();
  return Array.from(answers)
    .map(letter => {
      state = probeStep(state, short[letter] ?? 'error', { successThreshold, failureThreshold });
      return state.verdict?.[0] ?? '-';
    })
    .join('');
}

test('a verdict is reached by so many answers in a row, and holds until the other one is', () => {
  const table: [answers: string, success: number, failure: number, verdicts: string][] = [
    ['s', 1, 3, 's'],
    ['f', 1, 3, '-'],
    ['ff', 1, 3, '--'],
    ['fff', 1, 3, '--f'],
    ['sffs', 1, 3, 'ssss'],
    ['sfff', 1, 3, 'sssf'],
    ['ffsfff', 1, 3, '--sssf'],
    ['fffs', 1, 3, '--fs'],
    ['ssfsff', 2, 2, '-ssssf'],
  ];
  for (const [answers, success, failure, expected] of table)
    assert.equal(verdicts(answers, success, failure), expected, answers);
});

test('warnings count as success, errors not at all', () => {
  assert.equal(verdicts('w', 1, 3), 's');
  assert.equal(verdicts('sw', 2, 1), '-s');
  assert.equal(verdicts('ee', 1, 1), '--');
  assert.equal(verdicts('fefef', 1, 3), '----f');
  assert.equal(verdicts('ses', 2, 1), '--s');
});

test('thresholds that are not set are 1 and 3', () => {
  let state = beginning('success');
  for (const verdict of ['success', 'success', 'failure']) {
    state = probeStep(state, 'failure', {});
    assert.equal(state.verdict, verdict);
  }
  assert.equal(probeStep(state, 'success', {}).verdict, 'success');
});

test('a startup probe is done with any verdict, a liveness probe with a bad one, readiness never', () => {
  assert.deepEqual(
    (['startup', 'liveness', 'readiness'] as const).map(name => [
      isFinal(name, undefined),
      isFinal(name, 'success'),
      isFinal(name, 'failure'),
    ]),
    [
      [false, true, true],
      [false, false, true],
      [false, false, false],
    ],
  );
});

test('a verdict is that of the last row of answers that was long enough', () => {
  const answers = fc.array(fc.constantFrom<Kind>('success', 'failure'), { maxLength: 40 });
  const thresholds = fc.record({
    successThreshold: fc.integer({ min: 1, max: 4 }),
    failureThreshold: fc.integer({ min: 1, max: 4 }),
  });
  const rows = fc.property(answers, thresholds, (all, probe) => {
    const { verdict } = all.reduce((state, kind) => probeStep(state, kind, probe), beginning());
    let expected: string | undefined;
    for (let end = 1; end <= all.length; end++) {
      const kind = all[end - 1];
      const needed = kind === 'success' ? probe.successThreshold : probe.failureThreshold;
      if (end >= needed && all.slice(end - needed, end).every(each => each === kind)) expected = kind;
    }
    assert.equal(verdict, expected);
  });
  fc.assert(rows);
});
