// runs in a lab: bookworm trixie
/** What systemd makes of escaped values. Runs as root where systemd is PID 1. */
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import * as fc from 'fast-check';
import { SystemdClient } from '../../src/systemd/client.ts';
import {
  bindWord,
  description,
  environmentFile,
  environmentWord,
  execLine,
  jsonText,
  maxArgument,
  pathWord,
  plainPath,
} from '../../src/systemd/escape.ts';
import { unitPath } from '../../src/systemd/properties.ts';
import { renderUnit, type Section, section, unitFile } from '../../src/systemd/unit-file.ts';

const signal = AbortSignal.timeout(600_000);
const run = `spawnlet-test-escape-${process.pid}`;
const directory = mkdtempSync('/run/spawnlet-test-');
let client: SystemdClient;
let counter = 0;

before(async () => {
  client = await SystemdClient.connect({ signal });
});
after(async () => {
  for (const name of readdirSync('/run/systemd/system'))
    if (name.startsWith(run)) rmSync(`/run/systemd/system/${name}`);
  rmSync(directory, { recursive: true });
  await client[Symbol.asyncDispose]();
});

function unit(sections: readonly Section[]): string {
  const name = `${run}-${counter++}.service`;
  writeFileSync(`/run/systemd/system/${name}`, renderUnit(unitFile('', sections)));
  return name;
}

/** Writes the shell's own arguments and environment beside the path that is its first argument. */
const recorder = ['/bin/sh', '-c', 'cat /proc/$$/cmdline >$0.argv; cat /proc/$$/environ >$0.env'];

/** Runs one unit with a command for each argv; gives what each process got. */
async function record(
  argvs: readonly (readonly string[])[],
  environment: Record<string, string>,
  more: Record<string, string> = {},
): Promise<{ argv: string[]; env: Record<string, string> }[]> {
  const outputs = argvs.map((_argv, index) => `${directory}/${counter}-${index}`);
  const file = `${directory}/environment`;
  writeFileSync(file, environmentFile(more));
  const name = unit([
    section('Service', [
      ['Type', 'oneshot'],
      ['EnvironmentFile', file],
      ...Object.entries(environment).map(
        ([key, value]) => ['Environment', environmentWord(key, value)] as const,
      ),
      ...argvs.map(
        (argv, index) => ['ExecStart', execLine([...recorder, outputs[index] ?? '', ...argv])] as const,
      ),
    ]),
  ]);
  const end = await client.runUnit(name, 'replace', signal);
  assert.equal(`${end.Result} ${end.ExecMainStatus}`, 'success 0');
  rmSync(`/run/systemd/system/${name}`);
  return outputs.map(output => {
    const argv = readFileSync(`${output}.argv`, 'utf8').split('\0');
    const env = readFileSync(`${output}.env`, 'utf8')
      .split('\0')
      .filter(line => line.startsWith('T_'));
    rmSync(`${output}.argv`);
    rmSync(`${output}.env`);
    return {
      argv: argv.slice(recorder.length + 1, -1),
      env: Object.fromEntries(
        env.map(line => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]),
      ),
    };
  });
}

const special = fc.constantFrom(
  '$',
  '$$',
  '${T_A}',
  '$T_A',
  '%',
  '%%',
  '%n',
  '"',
  "'",
  '\\',
  '\\n',
  '\n',
  '\r',
  '\t',
  ' ',
  ';',
  '#',
  '[',
  ']',
  '=',

  '-',
  '@',
  '+',
  '!',
  ':',
  '|',
  '~',
  '*',
  '\u0001',
  '\u001b',
  '\u007f',
  '\u0085',
  '\u2028',
  '\ufeff',
  'ü',
  '😀',
  'A',
);
const random = fc
  .string({ unit: 'binary', maxLength: 6 })
  .filter(text => text.isWellFormed() && !/\0|\p{Noncharacter_Code_Point}/u.test(text));
const text = fc
  .array(fc.oneof({ weight: 3, arbitrary: special }, random), { maxLength: 8 })
  .map(parts => parts.join(''));
const environment = fc.dictionary(fc.stringMatching(/^T_[A-Za-z0-9_]{0,6}$/), text, {
  maxKeys: 8,
  noNullPrototype: true,
});

test('random arguments and environments reach the process byte for byte', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.array(text, { maxLength: 6 }), { minLength: 1, maxLength: 25 }),
      environment,
      environment,
      async (argvs, env, inFile) => {
        const got = await record(argvs, env, inFile);
        assert.deepEqual(
          got.map(one => one.argv),
          argvs,
        );
        // The file is read last.
        for (const one of got) assert.deepEqual(one.env, { ...env, ...inFile });
      },
    ),
    { numRuns: 20 },
  );
});

test('each special argument alone, first, in the middle and last reaches the process', async () => {
  const words = [
    '',
    ';',
    ';;',
    '\\;',
    '-',
    '--',
    '@',
    '$',
    '$$',
    '${A}',
    '%',
    '"',
    "'",
    '\\',
    '\n',
    ' ',
    '#',
    '=',
    '{}',
    '~',
  ];
  const argvs = words.flatMap(word => [[word], [word, 'x'], ['x', word, 'y'], ['x', word]]);
  assert.deepEqual(
    (await record(argvs, {})).map(one => one.argv),
    argvs,
  );
});

test('the largest argument that the kernel takes reaches the process, plain and escaped', async () => {
  const argvs = [
    ['x'.repeat(maxArgument)],
    ['$'.repeat(100_000)],
    ['\u0001'.repeat(100_000), 'ü'.repeat(50_000)],
  ];
  const env = { T_LARGE: '"'.repeat(maxArgument - 8) };
  const got = await record(argvs, env);
  assert.deepEqual(
    got.map(one => one.argv),
    argvs,
  );
  assert.deepEqual(got[0]?.env, env);
});

test('a program whose path holds spaces, $, % or a ; runs under its own name', async () => {
  for (const name of ['two words', 'a$b', '$a', '100%', 'a;b', 'ü']) {
    const program = `${directory}/${name}`;
    writeFileSync(program, `#!/bin/sh\ntr '\\0' '\\n' </proc/$$/cmdline >'${directory}/self'\n`, {
      mode: 0o755,
    });
    const line = execLine([program, 'x'], '-');
    const end = await client.runUnit(
      unit([
        section('Service', [
          ['Type', 'oneshot'],
          ['ExecStart', line],
        ]),
      ]),
      'replace',
      signal,
    );
    assert.equal(end.Result, 'success');
    assert.equal(readFileSync(`${directory}/self`, 'utf8'), `/bin/sh\n${program}\nx\n`, line);
  }
});

const pathText = fc
  .array(
    fc.oneof(
      fc.constantFrom('%', '%n', '"', "'", '\\', ':', ' ', '\t', '$', ';', '#', '-', 'ü', 'a', '/'),
      random,
    ),
    {
      minLength: 1,
      maxLength: 8,
    },
  )
  .map(parts => `/d${parts.join('')}e`)
  .filter(
    path =>
      !/[\n\r\u0001-\u0008\u000b-\u001f\u007f]/.test(path) &&
      !path.split('/').some(part => part === '..' || part === '.'),
  )
  .map(path => path.replaceAll(/\/+/g, '/'));

test('paths are read back as they were, in settings of one path and of several', async () => {
  await fc.assert(
    fc.asyncProperty(pathText, pathText, async (one, other) => {
      const name = unit([
        section('Service', [
          ['ExecStart', '/bin/true'],
          ['WorkingDirectory', plainPath(one)],
          ['BindPaths', `${bindWord(one, other)} ${bindWord(other, one, 'norbind')}`],
          ['ReadWritePaths', `${pathWord(one)} ${pathWord(other)}`],
        ]),
      ]);
      const found = await client.rawProperties(unitPath(name), '', signal);
      assert.equal(found.get('WorkingDirectory'), one);
      assert.deepEqual(found.get('BindPaths'), [
        [one, other, false, 16384n],
        [other, one, false, 0n],
      ]);
      assert.deepEqual(found.get('ReadWritePaths'), [one, other]);
      rmSync(`/run/systemd/system/${name}`);
    }),
    { numRuns: 40 },
  );
});

test('hostile labels and descriptions leave the unit as it was meant', async () => {
  await fc.assert(
    fc.asyncProperty(text, text, async (label, title) => {
      const name = unit([
        section('Unit', [['Description', description(title)]]),
        section('X-Spawnlet', [['Label', jsonText({ [label]: title })]]),
        section('Service', [
          ['ExecStart', '/bin/true'],
          ['User', 'nobody'],
        ]),
      ]);
      const found = await client.rawProperties(unitPath(name), '', signal);
      assert.equal(found.get('LoadState'), 'loaded');
      assert.equal(found.get('User'), 'nobody');
      const shown = description(title).replaceAll('%%', '%');
      assert.equal(found.get('Description'), shown === '' ? name : shown);
      rmSync(`/run/systemd/system/${name}`);
    }),
    { numRuns: 40 },
  );
});
