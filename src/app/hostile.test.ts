import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { runPlan } from '../../test/harness/run-plan.ts';
import { rootfsOf } from '../engine/script.ts';
import { parseUnit } from '../systemd/unit-file.ts';
import { planRemove, planRun, type RunPlan } from './plan.ts';
import { toBeRead } from './shown.ts';

const texts = (plan: RunPlan) =>
  new Map(
    toBeRead(planRun(plan), plan.request).steps.flatMap(step =>
      step.do === 'write-file' ? [[step.path, step] as const] : [],
    ),
  );

const unitText = (plan: RunPlan) => texts(plan).get('/etc/systemd/system/web.service')?.content ?? '';
const scriptText = (plan: RunPlan) => texts(plan).get('/var/lib/spawnlet/app/web/start')?.content ?? '';

/** Text as an image may hold it: everything but NUL. */
const hostile = fc.oneof(
  fc.string({ unit: 'binary' }).map(text => text.replaceAll('\0', '')),
  fc.constantFrom(
    '\n[Service]\nExecStartPost=/bin/false',
    '$(touch x)',
    '`id`',
    "'; id; '",
    '%n',
    '\\\nExecStop=',
  ),
);

test('nothing of an image adds a line or a key to the unit', () => {
  const keys = (text: string) =>
    parseUnit(text).sections.flatMap(({ lines }) =>
      lines.map(line => JSON.stringify('key' in line ? line.key : line)),
    );
  const plain = keys(unitText(runPlan()));
  fc.assert(
    fc.property(hostile, hostile, hostile, (env, label, word) => {
      const plan = runPlan(
        {},
        { env: [`A=${env}`], labels: { [label]: label }, cmd: ['sh', word], workingDir: `/${word}` },
      );
      assert.deepEqual(keys(unitText(plan)), plain);
    }),
  );
});

test('nothing of an image is run by the start script', () => {
  const rootfs = rootfsOf({ name: 'web' });
  const path = hostile.map(text => `/${text.replaceAll(/\.\.|^\/+/g, '')}x`);
  // The commands that would use a path of the image's print it instead.
  const stubs =
    'cp() { printf "%s\\0" "$3"; }; mkdir() { shift; [ $# = 0 ] || printf "%s\\0" "$1"; }; mv() { :; }; rm() { :; }; ';
  fc.assert(
    fc.property(path, path, (volume, workdir) => {
      const plan = runPlan({}, { volumes: [volume] }, { missingWorkdir: workdir.slice(1) });
      const script = scriptText(plan);
      const begin = script.indexOf('if [ ! -e /var/lib/spawnlet/app/web/prepared ]');
      const part = script
        .slice(begin, script.lastIndexOf('[ ! -e ctl ]'))
        .replace(/: > \/var\/lib\/spawnlet\/app\/web\/prepared/, ':');
      const said = execFileSync('bash', ['-c', `${stubs}${part}`])
        .toString()
        .split('\0');
      assert.equal(said[0], `${rootfs}/${volume.slice(1)}`);
      assert.ok(said.includes(`${rootfs}/${workdir.slice(1)}`));
    }),
    { numRuns: 40 },
  );
});

test('what is shown of the files has no value of the environment', () => {
  fc.assert(
    fc.property(fc.string({ minLength: 1, unit: 'binary' }), text => {
      const secret = `<${text}>`;
      const plan = runPlan(
        { env: [`PASSWORD=${secret}`, `A=b ${secret}`] },
        { env: [`FROM_IMAGE=${secret}`] },
      );
      for (const { shown, content } of texts(plan).values()) {
        const inner = JSON.stringify(secret).slice(1, -1);
        assert.ok(!(shown ?? content).includes(inner));
        assert.ok(!(shown ?? content).includes(JSON.stringify(inner).slice(1, -1)));
      }
    }),
  );
});

test('a unit of --rm lies where a boot takes it away', () => {
  assert.deepEqual(
    [...texts(runPlan({ removeAfterwards: true })).keys()].filter(path => path.endsWith('.service')),
    ['/run/systemd/system/web.service'],
  );
});

test('what removes a container names every place where it was made', () => {
  const removed = planRemove({
    name: 'web',
    removeAfterwards: false,
    enabled: true,
    timed: false,
    network: 'other',
  }).steps.flatMap(step => (step.do === 'remove' ? step.path : []));
  const made = planRun(runPlan()).steps.flatMap(step => ('path' in step ? step.path : []));
  const shared = ['/var/lib/spawnlet', '/var/lib/spawnlet/app'];
  const left = made.filter(
    path =>
      !shared.includes(path) &&
      !path.includes('journald') &&
      !removed.some(top => path === top || path.startsWith(`${top}/`)),
  );
  assert.deepEqual(left, []);
});
