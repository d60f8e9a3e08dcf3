/**
 * Every option of systemd-nspawn(1) and every key of systemd.nspawn(5), 252 to 257, and what becomes of it: one list, which `adopt` reads and
 * docs/machines.md shows.
 */

export interface NspawnOption {
  /** As on a command line, the long one first; none for a key that has no option. */
  readonly flags: readonly string[];
  readonly argument: 'none' | 'needed' | 'optional';
  /** `Exec.Boot`. */
  readonly key?: string;
  /** The first version that has it, if that is after 252. */
  readonly since?: number;
  /** Options of one group take each other's place between a command line and a settings file. */
  readonly group?: string;
  /** What spawnlet has for it. */
  readonly spawnlet?: string;
  /** Why it has nothing. */
  readonly leftOut?: string;
}

type Rest = Omit<NspawnOption, 'flags' | 'argument' | 'key'>;

const valued = (flags: string, key: string | undefined, rest: Rest): NspawnOption => ({
  flags: flags.split(' '),
  argument: 'needed',
  ...(key !== undefined && { key }),
  ...rest,
});
const plain = (flags: string, key: string | undefined, rest: Rest): NspawnOption => ({
  ...valued(flags, key, rest),
  argument: 'none',
});
const optional = (flags: string, key: string | undefined, rest: Rest): NspawnOption => ({
  ...valued(flags, key, rest),
  argument: 'optional',
});
const keyAlone = (key: string, rest: Rest): NspawnOption => ({ flags: [], argument: 'needed', key, ...rest });

const image = 'a machine has a tree; a disk image can be copied into one';
const verity = 'of disk images, which machines do not have';
const help = 'shows something and ends';
const console = "a machine's unit writes to the journal: `machine logs --console`, `machine login`";
const selinux = 'nothing is labelled; a drop-in can say it';

const commands: readonly NspawnOption[] = [
  plain('--help -h', undefined, { leftOut: help }),
  plain('--version', undefined, { leftOut: help }),
  plain('--no-pager', undefined, { leftOut: help }),
  plain('--share-system', undefined, { leftOut: 'refused by systemd-nspawn itself since 233' }),
  plain('--quiet -q', undefined, { spawnlet: 'always, by the stock unit' }),
  valued('--settings', undefined, { spawnlet: '`override`, by the stock unit: the `.nspawn` file counts' }),
];

const trees: readonly NspawnOption[] = [
  valued('--directory -D', undefined, { spawnlet: '`--from`, `--directory`; `from: dir:PATH`' }),
  valued('--template', undefined, {
    spawnlet: '`base prepare`, then `--from base:NAME`: a mount instead of a copy',
  }),
  plain('--ephemeral -x', 'Exec.Ephemeral', {
    leftOut: 'a copy of the tree at each start; `machine clone` and `rm`, or `snapshot` and `restore`',
  }),
  valued('--image -i', undefined, { leftOut: image }),
  valued('--image-policy', undefined, { since: 254, leftOut: verity }),
  valued('--oci-bundle', undefined, {
    leftOut:
      '`spawnlet run --engine nspawn` does that, and pods with `runtimeClassName: nspawn`; `--from oci:IMAGE` makes a tree',
  }),
  plain('--read-only', 'Files.ReadOnly', { leftOut: 'a machine writes to its tree; bases are read-only' }),
  optional('--volatile', 'Files.Volatile', {
    leftOut: 'a machine keeps what it writes; clones of a base are thrown away',
  }),
  valued('--root-hash', undefined, { leftOut: verity }),
  valued('--root-hash-sig', undefined, { leftOut: verity }),
  valued('--verity-data', undefined, { leftOut: verity }),
  valued('--pivot-root', 'Exec.PivotRoot', { leftOut: 'for ostree; the line is kept' }),
];

const execution: readonly NspawnOption[] = [
  plain('--boot -b', 'Exec.Boot', { group: 'start', spawnlet: 'unless `--no-boot` is given' }),
  plain('--as-pid2 -a', 'Exec.ProcessTwo', { group: 'start', spawnlet: '`--no-boot CMD`; `command`' }),
  keyAlone('Exec.Parameters', {
    group: 'start',
    spawnlet: '`--no-boot CMD`; `command`. Arguments of an init are kept',
  }),
  valued('--chdir', 'Exec.WorkingDirectory', {
    leftOut: 'a command can change its directory; the line is kept',
  }),
  valued('--setenv -E', 'Exec.Environment', { spawnlet: '`--env NAME=VALUE`; `environment`' }),
  valued('--user -u', 'Exec.User', {
    leftOut: 'a command can change its user (`setpriv`); the line is kept',
  }),
  valued('--kill-signal', 'Exec.KillSignal', {
    leftOut: "SIGRTMIN+3 stops systemd; another init's line is kept",
  }),
  valued('--notify-ready', 'Exec.NotifyReady', {
    spawnlet: 'always, where the tree has an init that notifies',
  }),
  valued('--suppress-sync', 'Exec.SuppressSync', {
    leftOut: 'data would be lost with the power; the line is kept',
  }),
];

const identity: readonly NspawnOption[] = [
  valued('--machine -M', undefined, { spawnlet: 'NAME' }),
  valued('--hostname', 'Exec.Hostname', { spawnlet: '`--hostname`; `firstBoot.hostname`' }),
  valued('--uuid', 'Exec.MachineID', {
    leftOut: 'each machine has an ID of its own in its tree; the line is kept',
  }),
];

const unit = 'belongs to a scope, and a machine is a service: `systemctl edit` the unit';
const properties: readonly NspawnOption[] = [
  valued('--slice -S', undefined, { leftOut: unit }),
  valued('--property', undefined, { leftOut: unit }),
  valued('--register', undefined, { spawnlet: '`yes`: machinectl shows machines' }),
  plain('--keep-unit', undefined, { spawnlet: 'always, by the stock unit' }),
];

const users: readonly NspawnOption[] = [
  optional('--private-users', 'Exec.PrivateUsers', {
    group: 'users',
    spawnlet: '`--private-users no`, `pick` or `BASE:COUNT`; `privateUsers`. `yes` and `identity` are kept',
  }),
  valued('--private-users-ownership', 'Files.PrivateUsersOwnership', {
    group: 'users',
    spawnlet: '`map`, always: no owner in a tree is changed',
  }),
  plain('--private-users-chown', 'Files.PrivateUsersChown', {
    group: 'users',
    spawnlet: '`map`, always: no owner in a tree is changed',
  }),
  plain('-U', undefined, { group: 'users', spawnlet: '`--private-users pick`' }),
];

const network: readonly NspawnOption[] = [
  plain('--private-network', 'Network.Private', {
    group: 'network',
    spawnlet: '`--network none`; `network: none`',
  }),
  valued('--network-interface', 'Network.Interface', {
    group: 'network',
    spawnlet: '`--network physical=LINK`',
  }),
  valued('--network-macvlan', 'Network.MACVLAN', { group: 'network', spawnlet: '`--network macvlan=LINK`' }),
  valued('--network-ipvlan', 'Network.IPVLAN', { group: 'network', spawnlet: '`--network ipvlan=LINK`' }),
  plain('--network-veth -n', 'Network.VirtualEthernet', {
    group: 'network',
    spawnlet: '`--network nat`, the default: on a bridge of its own, with NAT, without networkd on the host',
  }),
  valued('--network-veth-extra', 'Network.VirtualEthernetExtra', {
    group: 'network',
    leftOut: '`--network` can be given again, for a second bridge; the line is kept',
  }),
  valued('--network-bridge', 'Network.Bridge', { group: 'network', spawnlet: '`--network bridge=LINK`' }),
  valued('--network-zone', 'Network.Zone', { group: 'network', spawnlet: '`--network zone=NAME`' }),
  valued('--network-namespace-path', undefined, {
    group: 'network',
    leftOut: 'a machine has a network of its own',
  }),
  valued('--port -p', 'Network.Port', {
    spawnlet:
      '`--publish [ADDRESS:]HOSTPORT:PORT`, with `nat`: from 127.0.0.1 too, and before the machine has an address',
  }),
];

const security: readonly NspawnOption[] = [
  valued('--capability', 'Exec.Capability', {
    group: 'capabilities',
    spawnlet: '`--capability CAP`; `capabilities`. `all` is `--profile privileged`',
  }),
  valued('--drop-capability', 'Exec.DropCapability', {
    group: 'capabilities',
    leftOut:
      'the set that is left must still boot an OS, which nobody can check beforehand; the line is kept',
  }),
  valued('--ambient-capability', 'Exec.AmbientCapability', {
    leftOut: 'an init gives its services what they need; the line is kept',
  }),
  valued('--no-new-privileges', 'Exec.NoNewPrivileges', {
    leftOut: 'an OS has programs like sudo; the line is kept',
  }),
  valued('--system-call-filter', 'Exec.SystemCallFilter', {
    spawnlet:
      '`--profile nested`, `--profile ebpf`: system calls come with what needs them. Other lists are kept',
  }),
  valued('--selinux-context -Z', undefined, { leftOut: selinux }),
  valued('--selinux-apifs-context -L', undefined, { leftOut: selinux }),
];

export const rlimits = [
  'CPU',
  'FSIZE',
  'DATA',
  'STACK',
  'CORE',
  'RSS',
  'NOFILE',
  'AS',
  'NPROC',
  'MEMLOCK',
  'LOCKS',
  'SIGPENDING',
  'MSGQUEUE',
  'NICE',
  'RTPRIO',
  'RTTIME',
] as const;

const resources: readonly NspawnOption[] = [
  valued('--rlimit', undefined, { spawnlet: '`--nofile`, `--nproc`; `limits`. Others are kept' }),
  ...rlimits.map(name =>
    keyAlone(
      `Exec.Limit${name}`,
      name === 'NOFILE' || name === 'NPROC'
        ? { spawnlet: `\`--${name.toLowerCase()}\`; \`limits.${name.toLowerCase()}\`` }
        : { leftOut: "the limits that matter are the unit's; the line is kept" },
    ),
  ),
  valued('--oom-score-adjust', 'Exec.OOMScoreAdjust', {
    leftOut: '`--memory` is the limit of a machine; the line is kept',
  }),
  valued('--cpu-affinity', 'Exec.CPUAffinity', {
    leftOut: '`--cpus` is the limit of a machine; the line is kept',
  }),
  valued('--personality', 'Exec.Personality', {
    leftOut: 'trees are of the architecture of the host; the line is kept',
  }),
];

const integration: readonly NspawnOption[] = [
  valued('--resolv-conf', 'Exec.ResolvConf', {
    leftOut: "name servers are `dns` of an interface, in the OS's own form; the line is kept",
  }),
  valued('--timezone', 'Exec.Timezone', {
    spawnlet: "`off` where `firstBoot.timezone` is given; else systemd-nspawn's `auto`. Others are kept",
  }),
  valued('--link-journal', 'Exec.LinkJournal', {
    spawnlet: '`try-guest`, by the stock unit. Others are kept',
  }),
  plain('-j', undefined, { spawnlet: '`try-guest`, by the stock unit' }),
];

const mounts: readonly NspawnOption[] = [
  valued('--bind', 'Files.Bind', {
    group: 'mounts',
    spawnlet:
      '`--bind`, id-mapped where user namespaces are on; `--device` for device nodes. Lines with options are kept',
  }),
  valued('--bind-ro', 'Files.BindReadOnly', { group: 'mounts', spawnlet: '`--bind-ro`' }),
  valued('--inaccessible', 'Files.Inaccessible', { group: 'mounts', spawnlet: '`--inaccessible`' }),
  valued('--tmpfs', 'Files.TemporaryFileSystem', { group: 'mounts', spawnlet: '`--tmpfs`' }),
  valued('--overlay', 'Files.Overlay', { group: 'mounts', spawnlet: '`--overlay`' }),
  valued('--overlay-ro', 'Files.OverlayReadOnly', {
    group: 'mounts',
    leftOut: 'no use was found; the line is kept',
  }),
  valued('--bind-user', 'Files.BindUser', {
    leftOut: '`--user` makes users in the machine; the line is kept',
  }),
  valued('--bind-user-shell', undefined, { since: 257, leftOut: '`--user` makes users in the machine' }),
];

const streams: readonly NspawnOption[] = [
  valued('--console', undefined, { leftOut: console }),
  plain('--pipe -P', undefined, { leftOut: console }),
  valued('--background', undefined, { since: 256, leftOut: console }),
];

const credentials: readonly NspawnOption[] = [
  valued('--load-credential', undefined, { spawnlet: '`--credential ID:PATH`; `credentials`' }),
  valued('--set-credential', undefined, {
    leftOut: 'a secret would stand in a unit file: put it into a file of its own',
  }),
];

/** By the headings of systemd-nspawn(1). */
export const nspawnOptions: readonly { readonly title: string; readonly options: readonly NspawnOption[] }[] =
  [
    { title: 'Command', options: commands },
    { title: 'Image', options: trees },
    { title: 'Execution', options: execution },
    { title: 'System identity', options: identity },
    { title: 'Properties', options: properties },
    { title: 'User namespacing', options: users },
    { title: 'Networking', options: network },
    { title: 'Security', options: security },
    { title: 'Resources', options: resources },
    { title: 'Integration', options: integration },
    { title: 'Mounts', options: mounts },
    { title: 'Input and output', options: streams },
    { title: 'Credentials', options: credentials },
  ];

const all = nspawnOptions.flatMap(({ options }) => options);
const byFlag = new Map(all.flatMap(option => option.flags.map(flag => [flag, option] as const)));
const byKey = new Map(
  all.flatMap(option => (option.key === undefined ? [] : [[option.key, option] as const])),
);

/** Of `--bind` or `-b`. */
export const optionOf = (flag: string): NspawnOption | undefined => byFlag.get(flag);
/** Of `Exec.Boot`. */
export const keyOf = (key: string): NspawnOption | undefined => byKey.get(key);

/** The table of docs/machines.md, in Markdown. */
export function optionTable(): string {
  const row = (option: NspawnOption) => {
    const flags = option.flags.map(flag => `\`${flag}\``).join(', ');
    const since = option.since === undefined ? '' : ` (${option.since})`;
    const key = option.key === undefined ? '' : `\`[${option.key.replace('.', ']` `')}=\``;
    return `| ${flags}${since} | ${key} | ${option.spawnlet ?? `left out: ${option.leftOut ?? ''}`} |`;
  };
  const parts = nspawnOptions.map(({ title, options }) => [`| **${title}** | | |`, ...options.map(row)]);
  return [
    '| systemd-nspawn(1) | systemd.nspawn(5) | spawnlet |',
    '| --- | --- | --- |',
    ...parts.flat(),
  ].join('\n');
}
