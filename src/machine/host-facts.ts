import { basename } from 'node:path';
import type { Files } from '../host/files.ts';
import type { GpuFacts, HostFacts } from './lines.ts';
import { kvmDevices } from './profiles.ts';
import type { ProfileName } from './spec.ts';

/** Looks at the host for what profiles depend on. */

/** What a look at the host has found of graphics. */
export interface GpuFinds {
  /** Paths below /dev. */
  readonly nodes: readonly string[];
  /** Kernel drivers of DRM's nodes, by name: `renderD128`. */
  readonly drivers: Readonly<Record<string, string>>;
  /** Paths of libraries and programs. */
  readonly files: readonly string[];
}

const nvidiaNode =
  /^\/dev\/(nvidia\d+|nvidiactl|nvidia-modeset|nvidia-uvm|nvidia-uvm-tools|nvidia-caps\/.+)$/;
const nvidiaFile =
  /\/(lib(cuda|cudadebugger|nvcuvid|nvoptix|nvidia-.+|(EGL|GLX|GLESv1_CM|GLESv2|vdpau)_nvidia)\.so[.\d]*|nvidia-smi|nvidia-debugdump)$/;

/**
 * The device nodes and driver files that a machine with the profile `gpu` gets. NVIDIA's user space must be of the version of its kernel
 * module, so it comes from the host; AMD's comes with the machine's own packages.
 */
export function gpuOf({ nodes, drivers, files }: GpuFinds): GpuFacts {
  const nvidia = nodes.filter(node => nvidiaNode.test(node));
  const isOurs = (node: string) => /^(amdgpu|nvidia(-drm)?)$/.test(drivers[basename(node)] ?? '');
  const drm = nodes.filter(node => /^\/dev\/dri\/(card|renderD)\d+$/.test(node) && isOurs(node));
  const kfd = nodes.filter(node => node === '/dev/kfd');
  const driver = nvidia.length === 0 ? [] : files.filter(file => nvidiaFile.test(file));
  return { nodes: [...nvidia, ...kfd, ...drm].toSorted(), libraries: driver.toSorted() };
}

const fileDirectories = [
  '/usr/lib/x86_64-linux-gnu',
  '/usr/lib/aarch64-linux-gnu',
  '/usr/lib64',
  '/usr/lib',
  '/usr/bin',
];

async function findGpu(files: Files): Promise<GpuFinds> {
  const below = async (directory: string) =>
    (await files.list(directory)).map(name => `${directory}/${name}`);
  const all = async (directories: readonly string[]) => (await Promise.all(directories.map(below))).flat();
  const nodes = await all(['/dev', '/dev/nvidia-caps', '/dev/dri']);
  const drivers = nodes
    .filter(node => node.startsWith('/dev/dri/'))
    .map(async node => {
      const link = await files.look(`/sys/class/drm/${basename(node)}/device/driver`);
      return [basename(node), link?.kind === 'link' ? basename(link.target) : ''] as const;
    });
  return {
    nodes,
    drivers: Object.fromEntries(await Promise.all(drivers)),
    files: nodes.some(node => nvidiaNode.test(node)) ? await all(fileDirectories) : [],
  };
}

/** What of the host these profiles depend on; a GPU is looked for only if one of them wants it. */
export async function hostFacts(files: Files, profiles: readonly ProfileName[]): Promise<HostFacts> {
  const isThere = async (path: string) => (await files.look(path)) !== undefined;
  const devices = await Promise.all(kvmDevices.map(async ([path]) => ((await isThere(path)) ? [path] : [])));
  const modules = (await isThere('/sys/module/apparmor'))
    ? 'apparmor'
    : (await isThere('/sys/module'))
      ? 'plain'
      : 'none';
  return {
    devices: devices.flat(),
    modules,
    cgroups: (await isThere('/sys/fs/cgroup/cgroup.controllers')) ? 'unified' : 'mixed',
    gpu: profiles.includes('gpu') ? gpuOf(await findGpu(files)) : { nodes: [], libraries: [] },
  };
}
