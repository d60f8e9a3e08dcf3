import { SpawnletError } from '../host/error.ts';
import type { Files } from '../host/files.ts';
import type { Host } from '../host/host.ts';
import { canSnapshot } from '../host/subvolume.ts';
import { Bases } from '../image/tree/bases.ts';
import { formatTreeSource } from '../image/tree/source.ts';
import { machinesDirectory, stateDirectory } from '../names.ts';
import { decideNetwork } from '../network/decide.ts';
import { guestNetworkFiles } from '../network/guest.ts';
import { type NetworkLines, networkLines } from '../network/lines.ts';
import type { NetworkFacts } from '../network/observe.ts';
import type { NetworkedMachine } from '../network/spec.ts';
import { containersOnBridge, machinesOnBridge, podsWithPorts } from '../network/taken.ts';
import { formatMachine } from './document.ts';
import { startsAfter } from './drop-in.ts';
import type { GuestFile } from './guest/file.ts';
import { guestFiles } from './guest/files.ts';
import { hostnameFiles, type Identity, newIdentity } from './guest/identity.ts';
import { guestOs } from './guest/os.ts';
import { GuestRoot } from './guest/root.ts';
import { hostFacts } from './host-facts.ts';
import type { KeptLine, MachineFacts, Tree } from './lines.ts';
import { findMade, isMappableTree, type Made, namesOf } from './observe.ts';
import { placesOf } from './places.ts';
import type { Desired, NewTree } from './plan.ts';
import type { MachineSpec, Network, PrivateUsers } from './spec.ts';
import { type ReadableTree, treeOfMachine, viewTree } from './tree-view.ts';

/** A tree that a new machine can be made of, and where it can be read before that. */
export interface Origin {
  readonly tree: NewTree;
  readonly root: ReadableTree;
}

/**
 * The specs of all other machines. Throws `ERR_MACHINE_FILE` with the file's name for one that cannot be read: its addresses are
 * not free, and the bridge may be its.
 */
export async function othersOf(files: Files, name: string): Promise<MachineSpec[]> {
  const names = (await namesOf(files)).filter(other => other !== name);
  const found = await Promise.all(names.map(other => findMade(files, other)));
  return found.flatMap(made => (made ? [made.spec] : []));
}

/**
 * Machines that were ejected and go on needing the bridge with NAT, as the drop-ins of their units tell; with the addresses that
 * are theirs.
 */
export async function ejectedOf(files: Files): Promise<NetworkedMachine[]> {
  const made = new Set(await namesOf(files));
  return (await machinesOnBridge(files)).filter(({ name }) => !made.has(name));
}

/** All who may be on the bridge with NAT, but for this machine, and the pods that have ports of the host. */
export async function neighboursOf(files: Files, name: string): Promise<NetworkedMachine[]> {
  const ejected = (await ejectedOf(files)).filter(other => other.name !== name);
  const more = await Promise.all([containersOnBridge(files), podsWithPorts(files)]);
  return [...(await othersOf(files, name)), ...ejected, ...more.flat()];
}

/** The tree of a base; throws `ERR_BASE_NOT_FOUND`. */
export async function originOfBase(files: Files, base: string): Promise<Origin> {
  const { tree: root } = await new Bases(files).get(base);
  if (await canSnapshot(files, root, machinesDirectory))
    return { tree: { kind: 'snapshot', from: root }, root: { layers: [root] } };
  const entry = await files.look(root);
  const mode = entry?.kind === 'directory' ? entry.mode : 0o755;
  return { tree: { kind: 'clone', lower: [root], mode }, root: { layers: [root] } };
}

const isWithin = (path: string, directory: string) => `${path}/`.startsWith(directory.replace(/\/*$/, '/'));

/** A tree of somebody's; throws `ERR_MACHINE_TREE` for what is none, or holds or belongs to what machines are made of. */
export async function originOfDirectory(files: Files, path: string): Promise<Origin> {
  if (isWithin(path, stateDirectory) || [stateDirectory, machinesDirectory].some(own => isWithin(own, path)))
    throw new SpawnletError('ERR_MACHINE_TREE', `${path} is this host's own, and no tree of a machine`, {
      hint: '--directory is written to: name a tree of which nothing else is made',
    });
  if ((await files.look(path))?.kind === 'directory')
    return { tree: { kind: 'link', path }, root: { layers: [path] } };
  throw new SpawnletError('ERR_MACHINE_TREE', `${path} is no directory`, {
    hint: '--directory takes the root directory of a tree',
  });
}

export function originOfMachine(made: Made): Origin {
  const { layers, tree, spec } = made;
  return {
    root: treeOfMachine(made),
    tree: layers
      ? { kind: 'clone-of-clone', lower: layers.lower, upper: layers.upper }
      : { kind: 'copy', from: tree.kind === 'link' ? tree.path : placesOf(spec.name).tree },
  };
}

/** An origin that is to be copied, of which the file system makes a snapshot if it can. */
export async function atOnce(files: Files, origin: Origin): Promise<Origin> {
  const { tree, root } = origin;
  if (tree.kind !== 'copy' || !(await canSnapshot(files, tree.from, machinesDirectory))) return origin;
  return { tree: { kind: 'snapshot', from: tree.from }, root };
}

const treeOf = ({ kind, ...rest }: NewTree): Tree => {
  if (kind === 'copy' || kind === 'snapshot' || kind === 'move') return { kind: 'plain' };
  return kind === 'link' && 'path' in rest ? { kind, path: rest.path } : { kind: 'overlay' };
};

/** The user namespace of a machine; throws `ERR_MACHINE_USERS` where one is asked for that cannot be. */
async function usersOf(spec: MachineSpec, tree: Tree, root: string): Promise<PrivateUsers> {
  const asked = spec.privateUsers;
  if (asked?.kind === 'no') return asked;
  const unmapped = await whyUnmapped(spec, tree, root);
  if (unmapped === undefined) return asked ?? { kind: 'pick' };
  if (asked === undefined) return { kind: 'no' };
  throw new SpawnletError(
    'ERR_MACHINE_USERS',
    `machine ${spec.name} cannot have a user namespace: ${unmapped.why}`,
    { hint: `${unmapped.remedy}; else --private-users no` },
  );
}

/** Why the owners of what a machine sees cannot be mapped, and what could be; undefined if they can. */
export async function whyUnmapped(
  { mounts }: Pick<MachineSpec, 'mounts'>,
  tree: Tree,
  root: string,
): Promise<{ readonly why: string; readonly remedy: string } | undefined> {
  if (tree.kind === 'overlay')
    return {
      why: 'the kernel cannot map the owners of an overlay',
      remedy:
        'a tree of its own can have one: --directory PATH, eject, or a base that is a subvolume of btrfs',
    };
  const remedy = 'with ext4, xfs or btrfs there it can have one';
  if (!(await isMappableTree(root)))
    return { why: 'the kernel cannot map the owners of its file system', remedy };
  for (const mount of mounts) {
    if (mount.kind !== 'bind') continue;
    // What is not there is refused elsewhere.
    const can = await isMappableTree(mount.source).catch(() => true);
    if (!can)
      return { why: `the kernel cannot map the owners of ${mount.source}, which is bound into it`, remedy };
  }
  return undefined;
}

/** A machine's addresses stay, where it is said again without any. */
function keepAddresses(asked: Network, before: Network | undefined): Network {
  if (asked.kind !== 'private' || before?.kind !== 'private') return asked;
  return {
    kind: 'private',
    interfaces: asked.interfaces.map(one => {
      const was = before.interfaces.find(({ name, kind }) => name === one.name && kind === one.kind);
      if (!was || one.kind !== 'nat' || one.addresses.length > 0) return one;
      const { addresses, gateways, dns } = was;
      return {
        ...one,
        addresses,
        gateways: one.gateways.length > 0 ? one.gateways : gateways,
        dns: one.dns.length > 0 ? one.dns : dns,
      };
    }),
  };
}

const noFacts: Pick<NetworkFacts, 'systemd' | 'udev' | 'hostId' | 'nat'> = {
  systemd: 0,
  udev: false,
  hostId: '',
  nat: { v4: '', v6: '' },
};

/** The network as it is decided, and what it takes in the machine's files. */
async function networkOf(
  host: Host,
  spec: MachineSpec,
  before: Network | undefined,
  renamed: string | undefined,
  signal: AbortSignal,
): Promise<{ network: Network; lines: NetworkLines }> {
  if (spec.network.kind !== 'private') return { network: spec.network, lines: networkLines(spec, noFacts) };
  const asked = keepAddresses(spec.network, before);
  const { observeNetwork } = await import('../network/observe.ts');
  const interfaces = asked.kind === 'private' ? asked.interfaces : [];
  // An interface of the host that the machine itself has is not to be seen on the host.
  const kept = (await neighboursOf(host.files, spec.name)).filter(
    other => other.what !== undefined || other.name !== renamed,
  );
  const machines = before ? [...kept, { name: spec.name, network: before }] : kept;
  const facts = await observeNetwork(host, interfaces, machines, signal);
  const network = decideNetwork({ name: spec.name, network: asked }, facts);
  return { network, lines: networkLines({ name: spec.name, network }, facts) };
}

/** Who answers the questions of programs in a tree for names. */
function resolverOf(root: string): 'resolved' | 'file' {
  using tree = new GuestRoot(root);
  const entry = tree.look('/etc/resolv.conf');
  return entry?.kind === 'link' && /\/run\/systemd\/resolve\//.test(entry.target) ? 'resolved' : 'file';
}

/**
 * A tree that is booted where it lies is somebody already. One that never was booted has no ID, and systemd would ask at a
 * console that nobody sees who it is to be.
 */
function missingIdentity(root: string, { machineId }: Identity): GuestFile[] {
  using tree = new GuestRoot(root);
  const is = tree.read('/etc/machine-id')?.text.trim() ?? '';
  if (/^[0-9a-f]{32}$/.test(is)) return [];
  return [{ path: '/etc/machine-id', content: `${machineId}\n`, mode: 0o444 }];
}

/** What a machine is to become, with all that was looked up for it. Passwords are not kept. */
export async function desiredOf(
  host: Host,
  asked: MachineSpec,
  from: Made | Origin,
  kept: readonly KeptLine[],
  signal: AbortSignal,
  change: { readonly renamed?: string; readonly flattened?: true } = {},
): Promise<Desired> {
  const { files } = host;
  const made = 'spec' in from ? from : undefined;
  const origin = 'spec' in from ? originOfMachine(from) : from;
  using view = await viewTree(origin.root);
  const root = view.path;
  const tree: Tree = change.flattened ? { kind: 'plain' } : made ? made.tree : treeOf(origin.tree);
  const [{ network, lines }, os, users, facts, orders] = await Promise.all([
    networkOf(host, asked, made?.spec.network, change.renamed, signal),
    guestOs(root, asked.firstBoot, files),
    change.flattened && asked.privateUsers === undefined
      ? ({ kind: 'no' } as const)
      : usersOf(asked, tree, root),
    hostFacts(files, asked.profiles),
    asked.autostart.order === undefined ? [] : othersOf(files, asked.name),
  ]);
  const spec: MachineSpec = { ...asked, network };
  const order = asked.autostart.order ?? 0;
  const machineFacts: MachineFacts = {
    users,
    tree,
    ready: os.init === 'systemd' ? 'notify' : 'started',
    host: facts,
    after: startsAfter(spec, orders),
    kept,
  };
  const networkFiles = (): GuestFile[] => [
    ...guestNetworkFiles(lines, { manager: os.network, resolver: resolverOf(root) }),
  ];
  const identity = newIdentity(host.clock.now());
  const isSame = made && JSON.stringify(made.spec.network) === JSON.stringify(network);
  return {
    spec,
    document: await formatMachine(withoutSecrets(spec)),
    facts: machineFacts,
    network: lines,
    guest: made
      ? [
          ...(change.renamed === undefined ? [] : hostnameFiles(spec.firstBoot.hostname ?? spec.name, os)),
          ...(isSame ? [] : networkFiles()),
        ]
      : [
          ...guestFiles(spec, os, networkFiles(), identity),
          ...(spec.from.kind === 'directory' && os.init === 'systemd' ? missingIdentity(root, identity) : []),
        ],
    before: orders
      .filter(other => other.enabled && (other.autostart.order ?? order) > order)
      .map(other => other.name)
      .toSorted(),
  };
}

/** Hashes of passwords are in the machine's tree alone. */
export function withoutSecrets(spec: MachineSpec): MachineSpec {
  const { rootPasswordHash: _hash, users, ...firstBoot } = spec.firstBoot;
  return {
    ...spec,
    firstBoot: { ...firstBoot, users: users.map(({ passwordHash: _own, ...user }) => user) },
  };
}

/** A machine's tree stays what it was made of. Throws `ERR_MACHINE_SOURCE`. */
export function refuseOtherSource(before: MachineSpec, after: MachineSpec): void {
  const [was, is] = [formatTreeSource(before.from), formatTreeSource(after.from)];
  if (was === is) return;
  throw new SpawnletError(
    'ERR_MACHINE_SOURCE',
    `the tree of machine ${before.name} was made from ${was}: it cannot become one from ${is}`,
    { hint: 'make another machine, or remove this one first' },
  );
}
