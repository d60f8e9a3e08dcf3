import { execFile } from 'node:child_process';
import { mkdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { makeApplier } from '../../src/host/apply.ts';
import { realHost } from '../../src/host/host.ts';
import { hostExecutors } from '../../src/host/step.ts';
import { journalDirectory, lockDirectory, machinesDirectory, nspawnSettings } from '../../src/names.ts';
import { decideNetwork } from '../../src/network/decide.ts';
import { type GuestNetworkOs, guestNetworkFiles } from '../../src/network/guest.ts';
import { type NetworkLines, networkLines } from '../../src/network/lines.ts';
import { natRemoval } from '../../src/network/nat.ts';
import { observeNetwork } from '../../src/network/observe.ts';
import type { Interface, NetworkedMachine } from '../../src/network/spec.ts';
import { SystemdClient } from '../../src/systemd/client.ts';
import { systemdExecutors } from '../../src/systemd/executors.ts';
import { renderUnit, section, unitFile } from '../../src/systemd/unit-file.ts';

const signal = AbortSignal.timeout(300_000);
const host = realHost(lockDirectory, 'network test');
const client = await SystemdClient.connect({ signal });
const applier = makeApplier(
  { ...hostExecutors(host.files), ...systemdExecutors(async () => client) },
  host.files,
  host.locks,
  journalDirectory,
);

/** Ends what the tests share; without it the process does not end. */
export const close = () => client[Symbol.asyncDispose]();

const run = promisify(execFile);

/** Runs a command of this host to its end; what it printed. */
export async function shell(...argv: [string, ...string[]]): Promise<string> {
  const [program, ...args] = argv;
  return (await run(program, args, { encoding: 'utf8', timeout: 60_000 })).stdout;
}

/** All machines of the test that are there, as spawnlet would keep them. */
const kept = new Map<string, NetworkedMachine>();

export interface TestMachine extends AsyncDisposable {
  readonly lines: NetworkLines;
  /** Its PID 1, as this host numbers it. */
  readonly leader: string;
  /** Runs a command in the machine's namespaces to its end; what it printed. */
  inside(...argv: string[]): Promise<string>;
}

/** An interface of which only this is said. */
export function anInterface(some: Partial<Interface> & Pick<Interface, 'kind'>): Interface {
  return { name: 'host0', addresses: [], gateways: [], dns: [], ...some } as Interface;
}

async function put(path: string, content: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, content);
}

/** What would be in the way in a machine whose tree is this lab's. */
const masked = [
  'openvswitch-switch.service',
  'ovs-vswitchd.service',
  'ovsdb-server.service',
  'spawnlet-lab-ready.service',
  'systemd-networkd-wait-online.service',
];

const treeOf = (name: string) => join(machinesDirectory, name);
const unitOf = (name: string) => `systemd-nspawn@${name}.service`;
const dropInOf = (name: string) => `/etc/systemd/system/${unitOf(name)}.d/50-spawnlet.conf`;
const settingsOf = (name: string) => join(nspawnSettings, `${name}.nspawn`);

/** The tree: this lab's own, with what the machine changes beside it. */
async function makeTree(
  name: string,
  lines: NetworkLines,
  manager: GuestNetworkOs['manager'],
): Promise<void> {
  const upper = join(machinesDirectory, '.test', name, 'upper');
  const work = join(machinesDirectory, '.test', name, 'work');
  for (const path of [upper, work, treeOf(name)]) await mkdir(path, { recursive: true });
  await put(join(upper, 'etc/machine-id'), '');
  await put(join(upper, 'etc/hostname'), `${name}\n`);
  await mkdir(join(upper, 'etc/systemd/system'), { recursive: true });
  const off = manager === 'ifupdown' ? [...masked, 'systemd-networkd.service'] : masked;
  for (const unit of off) await symlink('/dev/null', join(upper, 'etc/systemd/system', unit));
  for (const file of guestNetworkFiles(lines, { manager, resolver: 'file' }))
    if ('content' in file) await put(join(upper, file.path), file.content);
  await shell(
    ...(['mount', '-t', 'overlay', `machine-${name}`] as const),
    ...(['-o', `lowerdir=/,upperdir=${upper},workdir=${work}`, treeOf(name)] as const),
  );
  // What this lab says of its own interfaces.
  for (const path of [
    'etc/systemd/network/10-host0.network',
    'etc/systemd/network/00-spawnlet-bridge-*',
    'etc/network/interfaces.d/spawnlet-bridge-*',
  ])
    await shell('sh', '-c', `rm -f ${treeOf(name)}/${path}`);
}

/** systemd-nspawn of 257 does not start where one that was killed has left this mount. */
const killed = ['ExecStopPost', '-/bin/umount --quiet /run/systemd/nspawn/unix-export/%i'] as const;

/** Makes and boots a machine with these interfaces, by the stock unit and what the network room says. */
export const useMachine = (name: string, ...interfaces: Interface[]): Promise<TestMachine> =>
  useMachineWith('networkd', name, ...interfaces);

/** {@link useMachine} with a tree in which another program sets interfaces up. */
export async function useMachineWith(
  manager: GuestNetworkOs['manager'],
  name: string,
  ...interfaces: Interface[]
): Promise<TestMachine> {
  const wanted: NetworkedMachine = { name, network: { kind: 'private', interfaces } };
  const facts = await observeNetwork(host, interfaces, [...kept.values()], signal);
  const machine = { name, network: decideNetwork(wanted, facts) };
  const lines = networkLines(machine, facts);
  await applier.apply({ title: `create ${name}`, ifInterrupted: 'undo', steps: lines.hostSteps }, signal);
  await makeTree(name, lines, manager);
  await put(
    settingsOf(name),
    renderUnit(
      unitFile('', [
        section('Exec', [
          ['PrivateUsers', 'no'],
          ['NotifyReady', 'yes'],
        ]),
        section('Network', lines.nspawn),
      ]),
    ),
  );
  await put(
    dropInOf(name),
    renderUnit(unitFile('', [section('Unit', lines.unit), section('Service', [...lines.service, killed])])),
  );
  kept.set(name, machine);
  let gone = false;
  async function dispose(): Promise<void> {
    if (gone) return;
    gone = true;
    await shell('systemctl', 'stop', unitOf(name));
    kept.delete(name);
    await rm(dirname(dropInOf(name)), { recursive: true });
    await rm(settingsOf(name));
    const steps = natRemoval([...kept.values()]);
    await applier.apply({ title: `rm ${name}`, ifInterrupted: 'finish', steps }, signal);
    await shell('umount', treeOf(name));
    await rm(treeOf(name), { recursive: true });
    await rm(join(machinesDirectory, '.test', name), { recursive: true });
    await shell('systemctl', 'reset-failed', unitOf(name)).catch(() => undefined);
  }
  try {
    await shell('systemctl', 'start', unitOf(name));
  } catch (cause) {
    const said = await shell('journalctl', '--no-pager', '-n30', '-u', unitOf(name));
    await dispose();
    throw new Error(said, { cause });
  }
  const nspawn = (await shell('systemctl', 'show', '-P', 'MainPID', unitOf(name))).trim();
  const leader = (await readFile(`/proc/${nspawn}/task/${nspawn}/children`, 'utf8')).trim();
  return {
    lines,
    leader,
    inside: (...argv) => shell('nsenter', '-t', leader, '-m', '-n', '-u', '--', ...argv),
    [Symbol.asyncDispose]: dispose,
  };
}

/** The host's links, rules and settings, as far as machines change them. */
export async function state(): Promise<Record<string, string>> {
  const settings = ['ipv4/ip_forward', 'ipv6/conf/all/forwarding', 'ipv6/conf/host0/accept_ra'];
  const values = await Promise.all(settings.map(name => readFile(`/proc/sys/net/${name}`, 'utf8')));
  return {
    links: await shell('sh', '-c', "ip -o link | sed 's/ state .*//'"),
    rules: await shell('nft', 'list', 'ruleset'),
    settings: values.join(''),
    units: await shell(
      'sh',
      '-c',
      'systemctl list-units --all --plain --no-legend "spawnlet-nat*" "systemd-nspawn@*"',
    ),
    files: await shell(
      'sh',
      '-c',
      'ls /etc/spawnlet /etc/systemd/nspawn /etc/systemd/system; ls -A /var/lib/machines',
    ),
  };
}
