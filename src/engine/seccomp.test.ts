import assert from 'node:assert/strict';
import { test } from 'node:test';
import { defaultSeccomp, type Profile, parseProfile, resolveProfile, type Seccomp } from './seccomp.ts';

const profile: Profile = {
  defaultAction: 'SCMP_ACT_ERRNO',
  defaultErrnoRet: 38,
  archMap: [
    { architecture: 'SCMP_ARCH_X86_64', subArchitectures: ['SCMP_ARCH_X86'] },
    { architecture: 'SCMP_ARCH_AARCH64', subArchitectures: null },
  ],
  syscalls: [
    { names: ['read', 'mount', 'keyctl', 'clone', 'clone3'], action: 'SCMP_ACT_ALLOW', args: [] },
    { names: ['arch_prctl'], action: 'SCMP_ACT_ALLOW', includes: { arches: ['amd64'] } },
    { names: ['arm_sync'], action: 'SCMP_ACT_ALLOW', includes: { arches: ['arm64'] } },
    { names: ['bpf'], action: 'SCMP_ACT_ALLOW', includes: { caps: ['CAP_SYS_ADMIN'] } },
    { names: ['bpf'], action: 'SCMP_ACT_ERRNO', errnoRet: 1, excludes: { caps: ['CAP_SYS_ADMIN'] } },
  ],
};

const actions = (seccomp: Seccomp, name: string) =>
  seccomp.syscalls
    .filter(rule => rule.names.includes(name))
    .map(rule => `${rule.action} ${rule.errnoRet ?? ''}`.trim());

test('conditions are decided by architecture and capabilities', () => {
  const here = resolveProfile(profile, [], 'x64');
  assert.deepEqual(here.architectures, ['SCMP_ARCH_X86_64', 'SCMP_ARCH_X86']);
  assert.deepEqual(actions(here, 'arch_prctl'), ['SCMP_ACT_ALLOW']);
  assert.deepEqual(actions(here, 'arm_sync'), []);
  assert.deepEqual(actions(here, 'bpf'), ['SCMP_ACT_ERRNO 1']);
  assert.deepEqual(actions(resolveProfile(profile, ['CAP_SYS_ADMIN'], 'arm64'), 'bpf'), ['SCMP_ACT_ALLOW']);
  assert.deepEqual(actions(resolveProfile(profile, [], 'arm64'), 'arm_sync'), ['SCMP_ACT_ALLOW']);
});

test('the default denies namespaces, mounts and keyrings by name', () => {
  const plain = defaultSeccomp(profile, [], 'x64');
  assert.deepEqual(actions(plain, 'mount'), ['SCMP_ACT_ERRNO 1']);
  assert.deepEqual(actions(plain, 'keyctl'), ['SCMP_ACT_ERRNO 1']);
  assert.deepEqual(actions(plain, 'clone3'), ['SCMP_ACT_ERRNO 38']);
  assert.deepEqual(actions(plain, 'clone'), ['SCMP_ACT_ALLOW', ...Array<string>(7).fill('SCMP_ACT_ERRNO 1')]);
  const admin = defaultSeccomp(profile, ['CAP_SYS_ADMIN'], 'x64');
  assert.deepEqual(
    [actions(admin, 'mount'), actions(admin, 'keyctl'), actions(admin, 'clone')],
    [['SCMP_ACT_ALLOW'], ['SCMP_ACT_ERRNO 1'], ['SCMP_ACT_ALLOW']],
  );
});

test('what is no profile is refused by the name of its file', () => {
  for (const text of ['', '{}', '[]', '{"defaultAction":1,"syscalls":[]}'])
    assert.throws(() => parseProfile(text, '/etc/p.json'), {
      code: 'ERR_SECCOMP_PROFILE',
      message: /\/etc\/p\.json/,
    });
});
