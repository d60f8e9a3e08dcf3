import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { profilePath, type Seccomp } from '../engine/seccomp.ts';
import { annotation } from './plan.ts';
import { compactJson, toBeRead } from './shown.ts';

const seccomp: Seccomp = {
  defaultAction: 'SCMP_ACT_ERRNO',
  architectures: ['SCMP_ARCH_X86_64'],
  syscalls: [
    { names: ['read'], action: 'SCMP_ACT_ALLOW' },
    { names: ['write'], action: 'SCMP_ACT_ALLOW' },
  ],
};

function shownOf(profile?: string): string {
  const bundle = {
    process: { args: ['serve'], env: ['PASSWORD=one\ntwo=three'] },
    linux: { seccomp },
    annotations: { [annotation.request]: 'PASSWORD=one', [annotation.image]: 'web:1' },
  };
  const content = JSON.stringify(bundle);
  const [step] = toBeRead(
    {
      title: 'run',
      ifInterrupted: 'undo',
      steps: [{ do: 'write-file', path: '/web/config.json', content, mode: 0o600 }],
    },
    profile === undefined ? {} : { seccomp: profile },
  ).steps;
  return step?.do === 'write-file' ? (step.shown ?? '') : '';
}

test('a bundle is shown without the values of its environment', () => {
  const text = shownOf();
  assert.match(text, /"PASSWORD=…"/);
  assert.doesNotMatch(text, /one|two|three/);
  assert.match(text, /"io.spawnlet.image": ?"web:1"/);
});

test('a seccomp profile is shown by its name and the count of its rules', () => {
  assert.ok(
    shownOf().includes(`"Docker's default, from ${profilePath}: 2 rules, else SCMP_ACT_ERRNO"`),
    shownOf(),
  );
  assert.match(shownOf('/etc/own.json'), /"\/etc\/own\.json: 2 rules, else SCMP_ACT_ERRNO"/);
});

test('compact JSON is the same value, in lines that fit where words let them', () => {
  fc.assert(
    fc.property(fc.jsonValue(), value => {
      const said = JSON.stringify(value);
      assert.equal(JSON.stringify(JSON.parse(compactJson(value))), said);
    }),
  );
  const lines = compactJson({ list: Array.from({ length: 60 }, (_none, at) => `CAP_${at}`) }).split('\n');
  assert.ok(lines.length < 12 && lines.every(line => line.length <= 121), lines.join('\n'));
});
