import assert from 'node:assert/strict';
import { test } from 'node:test';
import { candidates } from './become.ts';
import { machineName, plainSeccomp } from './nspawn.ts';
import type { Seccomp } from './seccomp.ts';

const architectures = ['SCMP_ARCH_X86_64'];
const [allow, errno] = ['SCMP_ACT_ALLOW', 'SCMP_ACT_ERRNO'];
const enosys = 38;
const rule = (name: string, action: string, errnoRet?: number) => ({
  names: [name],
  action,
  ...(errnoRet !== undefined && { errnoRet }),
});
const namesOf = ({ syscalls }: Seccomp) => syscalls.map(({ names, action }) => `${names.join()} ${action}`);

test('of a list of what is allowed the rules stay that allow, and clone3, where it is to be unknown', () => {
  const list = (...rules: ReturnType<typeof rule>[]): Seccomp => ({
    defaultAction: errno,
    defaultErrnoRet: 1,
    architectures,
    syscalls: [rule('read', allow), rule('mount', errno, 1), ...rules],
  });
  const isAllowed = 'clone3 SCMP_ACT_ALLOW';
  assert.deepEqual(namesOf(plainSeccomp(list(rule('clone3', errno, enosys)))), [
    'read SCMP_ACT_ALLOW',
    isAllowed,
  ]);
  assert.deepEqual(namesOf(plainSeccomp(list())), ['read SCMP_ACT_ALLOW']);
  assert.deepEqual(namesOf(plainSeccomp({ ...list(), defaultErrnoRet: enosys })), [
    'read SCMP_ACT_ALLOW',
    isAllowed,
  ]);
  assert.deepEqual(namesOf(plainSeccomp(list(rule('clone3', errno, 1)))), ['read SCMP_ACT_ALLOW']);
});

test('of a list of what is denied the rules stay that deny, without their error numbers', () => {
  const list = {
    defaultAction: allow,
    architectures,
    syscalls: [rule('read', allow), rule('mkdir', errno, 95)],
  };
  assert.deepEqual(plainSeccomp(list), {
    defaultAction: allow,
    architectures,
    syscalls: [rule('mkdir', errno)],
  });
});

test('names of machines are host names, and differ where names do', () => {
  assert.equal(machineName('web_1.a'), 'web-1-a');
  assert.equal(machineName('...'), 'container');
  const [one, other] = ['x', 'y'].map(end => machineName(`pod-${'a'.repeat(80)}-${end}`));
  assert.notEqual(one, other);
  for (const name of [one, other]) assert.match(name ?? '', /^[a-z0-9-]{64}$/);
});

test('a program without a slash is looked for in the container’s path', () => {
  assert.deepEqual(candidates('ls', ['PATH=/a', 'X=1', 'PATH=/b::/c']), ['/b/ls', './ls', '/c/ls']);
  assert.deepEqual(candidates('ls', []), ['/usr/bin/ls', '/bin/ls']);
  assert.deepEqual(candidates('./ls', ['PATH=/a']), ['./ls']);
});
