import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { type Piece, sideLine, startLines, wrapLine } from './command.ts';

const one = (line: string, program?: string, args?: readonly (readonly Piece[])[]) =>
  startLines([line], { ...(program !== undefined && { program }), ...(args && { args }) })[0];

test('what the pod does not say stays word for word, but for prefixes that leave the sandbox or hide the exit code', () => {
  assert.equal(one('/usr/bin/prometheus $ARGS'), '/usr/bin/prometheus $ARGS');
  assert.equal(
    one(`/usr/sbin/nginx -g 'daemon on; master_process on;'`),
    `/usr/sbin/nginx -g 'daemon on; master_process on;'`,
  );
  assert.equal(one('-/usr/bin/a b'), '/usr/bin/a b');
  assert.equal(one('+/usr/bin/a b'), '!/usr/bin/a b');
  assert.equal(one('@/usr/bin/a name b'), '@/usr/bin/a name b');
  assert.equal(one('"/opt/a b/c" d'), '"/opt/a b/c" d');
  assert.equal(sideLine('-+/bin/mkdir /x'), '-!/bin/mkdir /x');
  assert.deepEqual(startLines(['/bin/a', '/bin/b'], {}), ['/bin/a', '/bin/b']);
});

test('command stands for the first word, args for all after it', () => {
  assert.equal(one('/usr/sbin/a -f $X', '/bin/b'), '/bin/b -f $X');
  assert.equal(one(':/usr/sbin/a -f $X', '/bin/b'), ':/bin/b -f $X');
  assert.equal(one('@/usr/sbin/a name -f', '/bin/b'), '/bin/b -f');
  assert.equal(one('/usr/sbin/a -f $X', undefined, [['-x'], ['y z']]), '/usr/sbin/a -x "y z"');
  assert.equal(one(':@/usr/sbin/a name -f', undefined, [['-x']]), '@/usr/sbin/a name -x');
  assert.equal(one('/usr/sbin/a -f', '/bin/b', [['$HOME'], ['100%']]), '/bin/b $$HOME 100%%');
  assert.equal(startLines([], { program: '/bin/b', args: [] })[0], '/bin/b');
});

test('a variable of the pod is one of the unit, whose value is in no text of it', () => {
  const [line] = startLines([], { program: '/bin/b', args: [['--password=', { variable: 'SECRET' }, '$']] });
  assert.equal(line, '/bin/b "--password=${SECRET}$$"');
  assert.throws(() => startLines([], { program: '/bin/b', args: [[{ variable: 'a-b' }]] }), {
    code: 'ERR_UNIT_VALUE',
  });
});

test('another program goes before a line, and has its own name', () => {
  assert.equal(wrapLine(['/bin/setpriv', '--'], '@/bin/a name b'), '/bin/setpriv -- /bin/a b');
  assert.equal(wrapLine(['/bin/setpriv', '--'], '!/bin/a b'), '/bin/setpriv -- /bin/a b');
});

test('no argument makes a line of more than one, or begins another setting', () => {
  fc.assert(
    fc.property(
      fc.array(
        fc
          .string({ unit: 'grapheme' })
          .filter(text => text.isWellFormed() && !/[\0\p{Noncharacter_Code_Point}]/u.test(text)),
      ),
      texts => {
        const [line = ''] = startLines([], { program: '/bin/b', args: texts.map(text => [text]) });
        assert.doesNotMatch(line, /[\n\r\0]/);
        assert.doesNotMatch(line.replaceAll('%%', ''), /%/);
        assert.doesNotMatch(line.replaceAll('$$', ''), /\$/);
      },
    ),
  );
});
