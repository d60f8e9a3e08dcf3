import { closeSync, fstatSync, openSync, readSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { SpawnletError } from '../host/error.ts';
import { loadLibrary } from '../host/libc.ts';
import { temporaryName } from '../host/process.ts';
import type { Seccomp } from './seccomp.ts';

/** seccomp.h of libseccomp, which systemd-nspawn compiles its filters by. ERRNO is EPERM, as nspawn has it. */
const actions: Readonly<Record<string, number>> = {
  SCMP_ACT_ALLOW: 0x7fff_0000,
  SCMP_ACT_LOG: 0x7ffc_0000,
  SCMP_ACT_ERRNO: 0x0005_0001,
  SCMP_ACT_TRAP: 0x0003_0000,
  SCMP_ACT_KILL: 0,
  SCMP_ACT_KILL_THREAD: 0,
  SCMP_ACT_KILL_PROCESS: 0x8000_0000,
};

const comparisons = ['NE', 'LT', 'LE', 'EQ', 'GE', 'GT', 'MASKED_EQ'];

/** What libseccomp calls an architecture of a profile. */
const architectureName = (name: string) => name.replace('SCMP_ARCH_', '').toLowerCase();

type Arguments = Seccomp['syscalls'][number]['args'];

/** An array of scmp_arg_cmp. */
function comparisonsOf(args: Arguments = []): Buffer {
  const size = 24;
  const all = Buffer.alloc(size * args.length);
  for (const [at, { index, value, valueTwo = 0, op }] of args.entries()) {
    all.writeUInt32LE(index, at * size);
    all.writeUInt32LE(comparisons.indexOf(op.replace('SCMP_CMP_', '')) + 1, at * size + 4);
    all.writeBigUInt64LE(BigInt(value), at * size + 8);
    all.writeBigUInt64LE(BigInt(valueTwo), at * size + 16);
  }
  return all;
}

function actionOf(name: string): number {
  const action = actions[name];
  if (action !== undefined) return action;
  throw new SpawnletError('ERR_SECCOMP_PROFILE', `no filter can be made of the action ${name}`);
}

const alreadyThere = -17;

/**
 * The program that a filter is to the kernel.
 *
 * @param directory for a file that is gone at once
 * @throws ERR_SECCOMP_PROFILE
 */
export async function compileFilter(seccomp: Seccomp, directory: string): Promise<Buffer> {
  const library = await loadLibrary('libseccomp.so.2');
  const init = library.func('void *seccomp_init(uint32_t)');
  const resolve = library.func('int seccomp_syscall_resolve_name(const char *)');
  const architecture = library.func('uint32_t seccomp_arch_resolve_name(const char *)');
  const addArchitecture = library.func('int seccomp_arch_add(void *, uint32_t)');
  const add = library.func('int seccomp_rule_add_array(void *, uint32_t, int, unsigned int, const void *)');
  const write = library.func('int seccomp_export_bpf(void *, int)');
  const release = library.func('void seccomp_release(void *)');
  const check = (result: number, what: string) => {
    if (result >= 0 || result === alreadyThere) return;
    throw new SpawnletError('ERR_SECCOMP_PROFILE', `libseccomp does not take ${what}: error ${-result}`);
  };
  const filter = init(actionOf(seccomp.defaultAction));
  const path = join(directory, temporaryName());
  const file = openSync(path, 'wx+', 0o600);
  try {
    rmSync(path);
    for (const name of seccomp.architectures)
      check(addArchitecture(filter, architecture(architectureName(name))), name);
    for (const { names, action, args = [] } of seccomp.syscalls)
      for (const name of names) {
        const number = resolve(name);
        // A profile names calls of all architectures and of kernels to come.
        if (number === -1) continue;
        check(add(filter, actionOf(action), number, args.length, comparisonsOf(args)), name);
      }
    check(write(filter, file), 'the profile');
    const program = Buffer.alloc(fstatSync(file).size);
    readSync(file, program, 0, program.length, 0);
    return program;
  } finally {
    closeSync(file);
    release(filter);
  }
}
