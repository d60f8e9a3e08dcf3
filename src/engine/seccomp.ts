import { SpawnletError } from '../host/error.ts';

/** One rule of a profile as Docker and containers-common write it, before it is resolved. */
interface ProfileRule {
  readonly names?: readonly string[];
  readonly name?: string;
  readonly action: string;
  readonly args?: readonly Argument[] | null;
  readonly errnoRet?: number;
  readonly includes?: Condition;
  readonly excludes?: Condition;
}

interface Condition {
  readonly arches?: readonly string[] | null;
  readonly caps?: readonly string[] | null;
  readonly minKernel?: string | null;
}

interface Argument {
  readonly index: number;
  readonly value: number;
  readonly valueTwo?: number;
  readonly op: string;
}

export interface Profile {
  readonly defaultAction: string;
  readonly defaultErrnoRet?: number;
  readonly archMap?: readonly {
    readonly architecture: string;
    readonly subArchitectures?: readonly string[] | null;
  }[];
  readonly architectures?: readonly string[];
  readonly syscalls: readonly ProfileRule[];
}

/** `linux.seccomp` of an OCI runtime bundle. */
export interface Seccomp {
  readonly defaultAction: string;
  readonly defaultErrnoRet?: number;
  readonly architectures: readonly string[];
  readonly syscalls: readonly {
    readonly names: readonly string[];
    readonly action: string;
    readonly errnoRet?: number;
    readonly args?: readonly Argument[];
  }[];
}

/** Where Debian, Fedora and Arch keep the profile of containers-common. */
export const profilePath = '/usr/share/containers/seccomp.json';

const architectures: Record<string, { seccomp: string; docker: readonly string[] }> = {
  x64: { seccomp: 'SCMP_ARCH_X86_64', docker: ['amd64', 'x86', 'x32'] },
  arm64: { seccomp: 'SCMP_ARCH_AARCH64', docker: ['arm64', 'arm'] },
};

/** Of the flags of clone(2), those that make a namespace: mount, cgroup, UTS, IPC, user, PID, network. */
const namespaceFlags = [0x2_0000, 0x200_0000, 0x400_0000, 0x800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000];

const allNamespaces = namespaceFlags.reduce((sum, flag) => sum + flag);

const eperm = 1;
const enosys = 38;

/**
 * System calls that containers-common's profile allows to everybody and Docker's only with CAP_SYS_ADMIN: they make,
 * enter or change namespaces and mounts.
 */
const administrative = [
  'fsconfig',
  'fsmount',
  'fsopen',
  'fspick',
  'mount',
  'mount_setattr',
  'move_mount',
  'open_tree',
  'pivot_root',
  'setns',
  'umount',
  'umount2',
  'unshare',
];

/** Kernel keyrings have no namespace: Docker denies them to every container. */
const keyrings = ['add_key', 'keyctl', 'request_key'];

/** Reads a profile; it is the administrator's, so a mistake in it is told with the file's name. */
export function parseProfile(text: string, path: string): Profile {
  try {
    const profile = JSON.parse(text) as Profile;
    if (typeof profile.defaultAction !== 'string' || !Array.isArray(profile.syscalls))
      throw new Error('not a profile');
    return profile;
  } catch (cause) {
    throw new SpawnletError('ERR_SECCOMP_PROFILE', `${path} is no seccomp profile`, {
      cause,
      hint: 'it has to be JSON with defaultAction and syscalls, as Docker writes it',
    });
  }
}

/**
 * A profile with its conditions decided for one architecture and one set of capabilities, as the bundle needs it.
 * Rules for other architectures are left out; the ones for this architecture must stay, or programs die at start.
 */
export function resolveProfile(
  profile: Profile,
  capabilities: readonly string[],
  arch: string = process.arch,
): Seccomp {
  const here = architectures[arch];
  if (!here) throw new SpawnletError('ERR_SECCOMP_PROFILE', `no seccomp profile is known for ${arch}`);
  const fits = (condition: Condition | undefined, one: 'every' | 'some') => {
    const tests: boolean[] = [];
    if (condition?.arches?.length) tests.push(condition.arches.some(name => here.docker.includes(name)));
    if (condition?.caps?.length) tests.push(condition.caps[one](name => capabilities.includes(name)));
    return tests;
  };
  const syscalls = profile.syscalls
    .filter(rule => fits(rule.includes, 'every').every(Boolean) && !fits(rule.excludes, 'some').some(Boolean))
    .map(rule => ({
      names: rule.names ?? (rule.name ? [rule.name] : []),
      action: rule.action,
      ...(rule.errnoRet !== undefined && { errnoRet: rule.errnoRet }),
      ...(rule.args?.length && { args: rule.args }),
    }));
  const own = profile.archMap?.find(entry => entry.architecture === here.seccomp);
  return {
    defaultAction: profile.defaultAction,
    ...(profile.defaultErrnoRet !== undefined && { defaultErrnoRet: profile.defaultErrnoRet }),
    architectures: own
      ? [own.architecture, ...(own.subArchitectures ?? [])]
      : (profile.architectures ?? [here.seccomp]),
    syscalls,
  };
}

/**
 * Docker's default: containers-common's profile, less what Docker keeps from containers without CAP_SYS_ADMIN
 * (mounts and namespaces) and from all containers (keyrings). Known calls that are denied get EPERM, unknown ones
 * ENOSYS, so that a C library falls back to an older call; clone3 hides its flags in memory and gets ENOSYS too.
 */
export function defaultSeccomp(
  profile: Profile,
  capabilities: readonly string[],
  arch: string = process.arch,
): Seccomp {
  const resolved = resolveProfile(profile, capabilities, arch);
  if (capabilities.includes('CAP_SYS_ADMIN')) return denied(resolved, keyrings);
  const narrowed = denied(resolved, [...keyrings, ...administrative]);
  const without = remove(narrowed, ['clone', 'clone3']);
  return {
    ...without,
    syscalls: [
      ...without.syscalls,
      {
        names: ['clone'],
        action: 'SCMP_ACT_ALLOW',
        args: [{ index: 0, value: allNamespaces, valueTwo: 0, op: 'SCMP_CMP_MASKED_EQ' }],
      },
      ...namespaceFlags.map(flag => ({
        names: ['clone'],
        action: 'SCMP_ACT_ERRNO',
        errnoRet: eperm,
        args: [{ index: 0, value: flag, valueTwo: flag, op: 'SCMP_CMP_MASKED_EQ' }],
      })),
      { names: ['clone3'], action: 'SCMP_ACT_ERRNO', errnoRet: enosys },
    ],
  };
}

function remove(seccomp: Seccomp, names: readonly string[]): Seccomp {
  const syscalls = seccomp.syscalls
    .map(rule => ({ ...rule, names: rule.names.filter(name => !names.includes(name)) }))
    .filter(rule => rule.names.length > 0);
  return { ...seccomp, syscalls };
}

function denied(seccomp: Seccomp, names: readonly string[]): Seccomp {
  const rest = remove(seccomp, names);
  return { ...rest, syscalls: [...rest.syscalls, { names, action: 'SCMP_ACT_ERRNO', errnoRet: eperm }] };
}
