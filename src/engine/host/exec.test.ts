import assert from 'node:assert/strict';
import { test } from 'node:test';
import { credentialsOf, setprivWords } from './exec.ts';

const status = (more: string) => `Name:\tweb
Uid:\t100\t101\t101\t101
Gid:\t200\t201\t201\t201
Groups:\t5 77 
CapBnd:\t00000000000000c1
${more}`;

test('a command beside a program has its user, groups and bounding set, and no more privileges', () => {
  const text = status('CapAmb:\t0000000000000000\nNoNewPrivs:\t1\n');
  assert.deepEqual(setprivWords(credentialsOf(text)), [
    '/usr/bin/setpriv',
    '--reuid=101',
    '--regid=201',
    '--groups=5,77',
    '--inh-caps=-all',
    '--bounding-set=-all,+chown,+setgid,+setuid',
    '--no-new-privs',
  ]);
});

test('what a package gives its program beyond its user, a command has too', () => {
  const words = setprivWords(
    credentialsOf(status('CapAmb:\t0000000000000400\nNoNewPrivs:\t0\n').replace('5 77 ', '')),
  );
  assert.ok(words.includes('--clear-groups'));
  assert.deepEqual(words.slice(4, 6), [
    '--inh-caps=-all,+net_bind_service',
    '--ambient-caps=-all,+net_bind_service',
  ]);
  assert.ok(!words.includes('--no-new-privs'));
});
