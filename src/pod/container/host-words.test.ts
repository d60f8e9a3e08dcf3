import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parsePackageUnit } from '../../engine/host/package-unit.ts';
import { hostWords, piecesOf } from './host-words.ts';

const service = parsePackageUnit('[Service]\nExecStart=/usr/sbin/web -f\n', 'web.service');
const variables = new Map([['WHO', 'you']]);
const wordsOf = (container: { command?: string[]; args?: string[] }, more: object = {}) =>
  hostWords(
    { name: 'main', ...container },
    { variables, ...(container.command && { command: container.command }), ...more },
  );

test('variables stay variables, and what is none stays as it was written', () => {
  assert.deepEqual(piecesOf('a$(WHO)b$(NONE)$$(WHO)', variables), [
    'a',
    { variable: 'WHO' },
    'b$(NONE)$(WHO)',
  ]);
  assert.deepEqual(piecesOf('', variables), []);
});

test('the words of the pod stand for those of the package', async () => {
  const is = async (container: object, expected: object, more: object = { ...(service && { service }) }) =>
    assert.deepEqual(await wordsOf(container, more), expected);
  await is({}, {});
  await is({ command: ['/bin/echo'] }, { program: '/bin/echo' });
  await is({ args: ['-x'] }, { args: [['-x']] });
  await is({ args: [] }, { args: [] });
  await is(
    { command: ['/bin/echo', '-n'], args: ['$(WHO)'] },
    { program: '/bin/echo', args: [['-n'], [{ variable: 'WHO' }]] },
  );
  await is({}, { program: '/bin/tool', args: [] }, { path: '/bin/tool' });
  await is({ command: ['./tool'] }, { program: '/tool', args: [] }, {});
});

test('a program is looked for on the PATH, and something has to say what runs', async () => {
  const { program } = await wordsOf({ command: ['sh'] });
  assert.match(program ?? '', /^\/(?:usr\/)?bin\/sh$/);
  await assert.rejects(wordsOf({ command: ['no-such-program-here'] }), { code: 'ERR_HOST_PROGRAM' });
  await assert.rejects(wordsOf({ args: ['-x'] }), { code: 'ERR_NO_COMMAND' });
});
