import { basename, dirname, resolve } from 'node:path';
import { programMissing } from '../host/child.ts';
import { SpawnletError } from '../host/error.ts';
import type { Host } from '../host/host.ts';
import { hasProgram } from '../host/program.ts';
import { lockNetwork } from '../network/nat.ts';
import type { MachineChange } from './api.ts';
import { type MachineDependencies, type Parts, plan } from './change.ts';
import { isInMemory, refuseTaken } from './create.ts';
import { parseMachine } from './document.ts';
import { importPlace } from './imports.ts';
import { parseMachineName } from './names.ts';
import { getMade } from './observe.ts';
import { lockOf, placesOf } from './places.ts';
import { planMachine } from './plan.ts';
import { desiredOf } from './prepare.ts';
import { refuseMissing } from './sources.ts';
import type { MachineSpec } from './spec.ts';
import { duringStandstill, standstillOf } from './standstill.ts';
import { mountStep } from './tree-view.ts';
import { refuseHostAccess } from './trust.ts';

/** An archive of a machine holds these two, as those of lxc and incus hold metadata.yaml and rootfs. */
export const specMember = 'machine.yaml';
export const treeMember = 'rootfs';

/** How an archive is compressed, by its name. */
const endings = [
  ['.tar', []],
  ['.tar.gz', ['--gzip']],
  ['.tgz', ['--gzip']],
  ['.tar.xz', ['--xz']],
  ['.tar.zst', ['--zstd']],
] as const satisfies readonly (readonly [ending: string, flags: readonly string[]])[];

function compressionOf(file: string): readonly string[] {
  const found = endings.find(([ending]) => file.endsWith(ending));
  if (found) return found[1];
  throw new SpawnletError('ERR_FLAG_VALUE', `${basename(file)} is no name of an archive`, {
    hint: `a name that ends with ${endings.map(([ending]) => ending).join(', ')}`,
  });
}

/**
 * Words of tar(1): a tree with all that it has, the spec first. Holes are zeros, which compress well: what reads an archive
 * that may be hostile takes no sparse files.
 */
export function packWords(from: string, spec: string, path: string, archive: string): string[] {
  return [
    'tar',
    '--create',
    `--file=${archive}`,
    ...compressionOf(path),
    '--format=posix',
    '--numeric-owner',
    '--xattrs',
    '--xattrs-include=*',
    '--acls',
    // Of members and hard links, not of symbolic ones.
    `--transform=flags=rh;s,^\\.\\(/\\|$\\),${treeMember}\\1,`,
    `--directory=${dirname(spec)}`,
    basename(spec),
    `--directory=${from}`,
    '.',
  ];
}

/** Packs a machine that is stopped, or frozen meanwhile. */
export async function* exportMachine(
  deps: MachineDependencies,
  { name, file }: Extract<MachineChange, { do: 'export' }>,
  signal: AbortSignal,
): Parts {
  const { files } = deps.host;
  const path = resolve(file);
  compressionOf(path);
  const made = await getMade(files, name);
  if (await files.look(path))
    throw new SpawnletError('ERR_NAME_TAKEN', `${path} is there already`, { hint: 'name another file' });
  const standstill = await standstillOf(deps, name, 'export', signal);
  for (const flag of compressionOf(path)) {
    const program = flag.slice(2);
    if (!(await hasProgram(files, program))) throw programMissing(program);
  }
  const places = placesOf(name);
  const from = made.tree.kind === 'link' ? made.tree.path : places.tree;
  const pack = { do: 'pack-tree', name, from, spec: places.spec, path } as const;
  yield plan({
    title: `export machine ${name}`,
    ifInterrupted: 'undo',
    steps: duringStandstill(standstill, [...mountStep(made), pack]),
  });
}

const longestSpec = 1024 * 1024;

/** The spec that an archive begins with. Throws `ERR_TREE_ARCHIVE`, `ERR_MACHINE_FILE`. */
export async function specIn(
  host: Pick<Host, 'children' | 'files'>,
  file: string,
  signal: AbortSignal,
): Promise<MachineSpec> {
  if (!(await host.files.look(file)))
    throw new SpawnletError('ERR_TREE_ARCHIVE', `there is no ${file} on this host`, {
      hint: 'name an archive that spawnlet machine export has written',
    });
  const script = 'tar --extract --to-stdout --occurrence=1 --file="$1" -- "$2" | head -c "$3"';
  const words = ['sh', '-c', script, 'sh', file, specMember, String(longestSpec + 1)];
  const { stdout, stderr } = await host.children.capture(words, { signal });
  if (stdout.length > 0) return parseMachine(stdout.toString(), `${file}: ${specMember}`);
  throw new SpawnletError('ERR_TREE_ARCHIVE', `${file} is no archive of a machine: ${stderr.trim()}`, {
    hint: `it has no ${specMember}; of a root file system alone: machine create --from tar:${file}`,
  });
}

/** A machine from an archive, with an identity of its own. */
export async function* importMachine(
  deps: MachineDependencies,
  change: Extract<MachineChange, { do: 'import' }>,
  signal: AbortSignal,
): Parts {
  const file = resolve(change.file);
  const packed = await specIn(deps.host, file, signal);
  if (!change.trust) refuseHostAccess(packed, basename(file));
  await refuseMissing(packed);
  const name = parseMachineName(change.name);
  const { files, locks } = deps.host;
  await using _machine = await locks.take(lockOf(name));
  await refuseTaken(deps, name);
  const { tree } = placesOf(name);
  const unpacked = importPlace(name);
  try {
    yield plan({
      title: `unpack machine ${name}`,
      ifInterrupted: 'undo',
      steps: [
        { do: 'remove', path: unpacked },
        { do: 'make-directory', path: dirname(tree), mode: 0o700 },
        { do: 'unpack-tree', name, from: file, path: unpacked },
      ],
    });
    const spec = importedSpec(packed, name, file);
    const origin = { tree: { kind: 'move', from: unpacked }, root: { layers: [unpacked] } } as const;
    await using _network = await lockNetwork(locks, signal);
    const desired = await desiredOf(deps.host, spec, origin, [], signal);
    const loaded = await isInMemory(deps, name, signal);
    yield plan(planMachine(desired, { kind: 'nothing', tree: origin.tree, loaded, start: false }));
  } finally {
    // Still there if no machine has come of it.
    await files.remove(unpacked);
  }
}

/** What a machine from another host is on this one: addresses of spawnlet's own network are given anew. */
export function importedSpec(packed: MachineSpec, name: string, file: string): MachineSpec {
  const { network } = packed;
  return {
    ...packed,
    name,
    from: { kind: 'tar', location: file },
    enabled: false,
    network:
      network.kind === 'private'
        ? {
            kind: 'private',
            interfaces: network.interfaces.map(one =>
              one.kind === 'nat' ? { ...one, addresses: [], gateways: [], dns: [] } : one,
            ),
          }
        : network,
    firstBoot: { sshKeys: [], users: [], copy: [], run: [] },
  };
}
