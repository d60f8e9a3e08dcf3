import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Diagnosis } from '../app/doctor/diagnosis.ts';
import { report } from './doctor.ts';

const row = (name: string, rest: Partial<Diagnosis> = {}): Diagnosis => ({
  name,
  purpose: 'isolates containers',
  verdict: 'ok',
  finding: 'crun version 1.8.1',
  ...rest,
});

test('what is missing is told with what it is for, and with its fix', () => {
  const gone = row('crun', {
    verdict: 'missing',
    finding: 'crun is not installed',
    fix: 'apt-get install crun',
  });
  assert.equal(
    report([row('conmon', { finding: 'conmon version 2.1.6' }), gone]),
    `CHECK   RESULT   FINDING
conmon  ok       conmon version 2.1.6
crun    missing  crun is not installed
                 (isolates containers)
                 fix: apt-get install crun

1 of 2 checks found something missing.
`,
  );
});

test('notes are no obstacle', () => {
  const text = report([row('space', { verdict: 'note', finding: '1.0 GiB free' })]);
  assert.match(text, /^space {2}note {5}1\.0 GiB free$/m);
  assert.match(text, /Containers run here\.\n$/);
});

test('lines end before column 80, except within a word', () => {
  const long = row('overlay', { finding: 'word '.repeat(60).trim(), fix: 'x'.repeat(100), verdict: 'note' });
  for (const line of report([long]).split('\n'))
    assert.ok(line.length <= 80 || line.trim() === 'x'.repeat(100), line);
});

test('what a program said cannot control the terminal', () => {
  assert.match(report([row('crun', { finding: 'a\u001b[31mb' })]), /a\?\[31mb/);
});
