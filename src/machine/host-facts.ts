import { existsSync } from 'node:fs';
import { readdir, readlink } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { cgroupVersion } from '../engine/cgroup.ts';
import type { Children } from '../host/child.ts';
import { isErrno } from '../host/error.ts';
import type { GpuFacts, HostFacts } from './lines.ts';
import { kvmDevices } from './profiles.ts';
import type { ProfileName } from './spec.ts';

/** Looks at the host for what profiles depend on. */

/** What a look at the host has found of graphics. */
export interface GpuFinds {
  /** Paths below /dev, directories left out. */
  readonly nodes: readonly string[];
  /** Kernel drivers of DRM's nodes, by name: `renderD128`. */
  readonly drivers: Readonly<Record<string, string>>;
  /** What `ldconfig -p` prints; undefined where it was not asked. */
  readonly libraries: string;
  /** Programs of the driver that are there. */
  readonly programs: readonly string[];
}

const nvidiaNode =
  /^\/dev\/(nvidia\d+|nvidiactl|nvidia-modeset|nvidia-uvm|nvidia-uvm-tools|nvidia-caps\/.+)$/;
const nvidiaLibrary =
  /^lib(cuda|cudadebugger|nvcuvid|nvoptix|nvidia-.+|(EGL|GLX|GLESv1_CM|GLESv2|vdpau)_nvidia)\.so/;

/**
 * The device nodes and driver files that a machine with the profile `gpu` gets. NVIDIA's user space must be of the version of its kernel
 * module, so it comes from the host; AMD's comes with the machine's own packages.
 */
export function gpuOf(finds: GpuFinds): GpuFacts {
  const nvidia = finds.nodes.filter(node => nvidiaNode.test(node));
  const isOurs = (node: string) => /^(amdgpu|nvidia(-drm)?)$/.test(finds.drivers[basename(node)] ?? '');
  const drm = finds.nodes.filter(node => /^\/dev\/dri\/(card|renderD)\d+$/.test(node) && isOurs(node));
  const kfd = finds.nodes.filter(node => node === '/dev/kfd');
  const libraries = finds.libraries.split('\n').flatMap(line => {
    const [, name = '', path = ''] = /^\s*(\S+) \(.*\) => (\/\S+)$/.exec(line) ?? [];
    return nvidiaLibrary.test(name) ? [path] : [];
  });
  const driver = nvidia.length === 0 ? [] : [...new Set([...libraries, ...finds.programs])];
  return { nodes: [...nvidia, ...kfd, ...drm].toSorted(), libraries: driver.toSorted() };
}

/** Names in a directory; none if it is not there. */
async function namesIn(directory: string): Promise<string[]> {
  try {
    return await readdir(directory);
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return [];
    throw error;
  }
}

async function driverOf(node: string): Promise<string> {
  try {
    return basename(await readlink(`/sys/class/drm/${node}/device/driver`));
  } catch (error) {
    if (isErrno(error, 'ENOENT') || isErrno(error, 'EINVAL')) return '';
    throw error;
  }
}

const programs = ['/usr/bin/nvidia-smi', '/usr/bin/nvidia-debugdump', '/usr/bin/nvidia-persistenced'];

async function findGpu(children: Children, signal: AbortSignal): Promise<GpuFinds> {
  const below = async (directory: string) => (await namesIn(directory)).map(name => join(directory, name));
  const dri = await namesIn('/dev/dri');
  const nodes = [
    ...(await below('/dev')),
    ...(await below('/dev/nvidia-caps')),
    ...(await below('/dev/dri')),
  ];
  const isNvidia = nodes.some(node => nvidiaNode.test(node));
  const drivers = await Promise.all(dri.map(async node => [node, await driverOf(node)] as const));
  const listed = isNvidia
    ? (await children.capture(['/sbin/ldconfig', '-p'], { signal })).stdout.toString()
    : '';
  return {
    nodes,
    drivers: Object.fromEntries(drivers),
    libraries: listed,
    programs: programs.filter(path => existsSync(path)),
  };
}

/** Profiles that the rest of the facts is asked for alone: a start should not look at what it does not need. */
export async function hostFacts(
  profiles: readonly ProfileName[],
  children: Children,
  signal: AbortSignal,
): Promise<HostFacts> {
  const modules = existsSync('/sys/module/apparmor')
    ? 'apparmor'
    : existsSync('/sys/module')
      ? 'plain'
      : 'none';
  return {
    devices: kvmDevices.map(([path]) => path).filter(path => existsSync(path)),
    modules,
    cgroups: cgroupVersion() === 2 ? 'unified' : 'mixed',
    gpu: profiles.includes('gpu') ? gpuOf(await findGpu(children, signal)) : { nodes: [], libraries: [] },
  };
}
