import { SpawnletError } from '../host/error.ts';
import type { HostStep } from '../host/step.ts';
import { renderUnit, section, unitFile } from '../systemd/unit-file.ts';
import { checkAddressing, checkName, refuseLoneGateway } from './decide.ts';
import type { Addressing, Assignment, Link } from './spec.ts';

/** A bridge of the host that is there after a boot, for machines: what `spawnlet network create` is asked for. */
export interface BridgeRequest extends Addressing {
  readonly name: string;
  /** Interfaces of the host that become ports of it. */
  readonly uplinks: readonly string[];
}

/** Who reads the files of a bridge. */
export type BridgeManager = 'networkd' | 'ifupdown';

/** What of the host a bridge depends on. */
export interface BridgeFacts {
  /** Of several the one that has interfaces now; `networkmanager` and `none` are given no file. */
  readonly manager: BridgeManager | 'networkmanager' | 'none';
  readonly links: readonly Link[];
  /** Global addresses of links, as CIDR. */
  readonly addresses: Readonly<Record<string, readonly string[]>>;
  /** Interfaces that ifupdown has stanzas for. */
  readonly stanzas: readonly string[];
}

/** Brings a bridge up from the files that were just written; undone by taking it away. */
export interface SetUpBridge {
  readonly do: 'set-up-bridge';
  readonly name: string;
  readonly manager: BridgeManager;
}

/** Takes a bridge away whose files are gone, or with ifupdown are about to go. */
export interface TakeDownBridge {
  readonly do: 'take-down-bridge';
  readonly name: string;
  readonly manager: BridgeManager;
}

/** Steps of this room alone. */
export type OwnBridgeStep = SetUpBridge | TakeDownBridge;

export type BridgeStep = HostStep | OwnBridgeStep;

export interface BridgePlan {
  readonly steps: readonly BridgeStep[];
  /** `boot`: an uplink has the host's address now, and whoever asked may be connected by it. */
  readonly takesEffect: 'now' | 'boot';
}

const networkdDirectory = '/etc/systemd/network';
const interfacesDirectory = '/etc/network/interfaces.d';

/** What every file of a bridge begins with; `-` comes in no ending, so that `br0` is not taken for `br0-x`. */
const stem = (name: string) => `00-spawnlet-bridge-${name}`;
const stanzasOf = (name: string) => `${interfacesDirectory}/spawnlet-bridge-${name}`;
const comment = (name: string) => `Bridge ${name} for machines; written by spawnlet network create.`;

const write = (path: string, content: string): HostStep => ({ do: 'write-file', path, content, mode: 0o644 });

function networkdFiles({ name, uplinks, addresses, gateways, dns }: BridgeRequest): HostStep[] {
  const file = (ending: string, sections: [name: string, lines: Assignment[]][]): HostStep =>
    write(
      `${networkdDirectory}/${stem(name)}${ending}`,
      renderUnit(
        unitFile(
          comment(name),
          sections.map(([heading, lines]) => section(heading, lines)),
        ),
      ),
    );
  const settings: Assignment[] = [
    // A bridge that is a switch alone has no address of its own.
    ...(addresses === 'dhcp' ? [['DHCP', 'yes'] as const] : []),
    ...(addresses === 'dhcp' ? [] : addresses.map(address => ['Address', address] as const)),
    ...(addresses.length === 0
      ? [['LinkLocalAddressing', 'no'] as const, ['IPv6AcceptRA', 'no'] as const]
      : []),
    ...gateways.map(gateway => ['Gateway', gateway] as const),
    ...dns.map(server => ['DNS', server] as const),
    // Without machines and uplinks it has no carrier.
    ['ConfigureWithoutCarrier', 'yes'],
  ];
  return [
    file('.netdev', [
      [
        'NetDev',
        [
          ['Name', name],
          ['Kind', 'bridge'],
        ],
      ],
      [
        'Bridge',
        [
          ['STP', 'no'],
          ['ForwardDelaySec', '0'],
        ],
      ],
    ]),
    file('.network', [
      ['Match', [['Name', name]]],
      ['Link', [['RequiredForOnline', 'no']]],
      ['Network', settings],
    ]),
    ...uplinks.map((uplink, index) =>
      file(`.port${index}.network`, [
        ['Match', [['Name', uplink]]],
        ['Network', [['Bridge', name]]],
      ]),
    ),
  ];
}

function ifupdownFiles({ name, uplinks, addresses, gateways, dns }: BridgeRequest): HostStep[] {
  const make = [
    `    pre-up ip link add name ${name} type bridge forward_delay 0 || true`,
    ...uplinks.map(uplink => `    pre-up ip link set dev ${uplink} master ${name} up`),
    // Set, it stays as machines come and go.
    `    pre-up ip link set dev ${name} address "$(cat /sys/class/net/${uplinks[0] ?? name}/address)"`,
  ];
  const family = (address: string) => (address.includes(':') ? 'inet6' : 'inet');
  const plain = addresses === 'dhcp' ? 'dhcp' : 'manual';
  const stanzas =
    addresses === 'dhcp' || addresses.length === 0
      ? [
          [
            `iface ${name} inet ${plain}`,
            ...make,
            ...(plain === 'manual' ? [`    up ip link set dev ${name} up`] : []),
          ],
        ]
      : addresses.map((address, index) => {
          const first = addresses.findIndex(other => family(other) === family(address)) === index;
          const gateway = first ? gateways.find(other => family(other) === family(address)) : undefined;
          return [
            `iface ${name} ${family(address)} static`,
            ...(index === 0 ? make : []),
            `    address ${address}`,
            ...(gateway === undefined ? [] : [`    gateway ${gateway}`]),
            ...(index === 0 && dns.length > 0 ? [`    dns-nameservers ${dns.join(' ')}`] : []),
          ];
        });
  const lines = [
    `# ${comment(name)}`,
    `auto ${name}`,
    ...stanzas.flat(),
    `    post-down ip link delete dev ${name} || true`,
    '',
  ];
  return [write(stanzasOf(name), lines.join('\n'))];
}

/** The files of a bridge, in the form that the host's network is kept in. */
export const bridgeFiles = (request: BridgeRequest, manager: BridgeManager): HostStep[] =>
  manager === 'networkd' ? networkdFiles(request) : ifupdownFiles(request);

const refused = (message: string, hint: string) => new SpawnletError('ERR_NETWORK', message, { hint });

function managerOf({ manager }: BridgeFacts, { name }: BridgeRequest): BridgeManager {
  if (manager === 'networkd' || manager === 'ifupdown') return manager;
  if (manager === 'networkmanager')
    throw refused(
      'NetworkManager has the interfaces of this host, and is told of a bridge by its own command',
      `nmcli connection add type bridge ifname ${name} con-name ${name}`,
    );
  throw refused(
    'neither systemd-networkd nor ifupdown runs on this host',
    'systemctl enable --now systemd-networkd',
  );
}

function checkUplink(
  uplink: string,
  request: BridgeRequest,
  facts: BridgeFacts,
  manager: BridgeManager,
): void {
  checkName('an interface', uplink);
  const link = facts.links.find(({ name }) => name === uplink);
  if (!link)
    throw new SpawnletError('ERR_NO_LINK', `this host has no interface ${uplink}`, {
      hint: 'ip link shows them',
    });
  if (link.master !== undefined && link.master !== request.name)
    throw refused(`${uplink} is a port of ${link.master}`, 'use that bridge, or another interface');
  const addresses = facts.addresses[uplink] ?? [];
  if (addresses.length > 0 && request.addresses.length === 0)
    throw refused(
      `${uplink} has ${addresses.join(', ')}, which this host would lose: a port of a bridge has no address`,
      `--address ${addresses.join(' --address ')} --gateway …, or --address dhcp, gives it to the bridge`,
    );
  if (manager === 'ifupdown' && facts.stanzas.includes(uplink))
    throw refused(
      `${uplink} has a stanza in /etc/network/interfaces`,
      `take it out there: the file of the bridge sets ${uplink} up`,
    );
}

/**
 * What makes a bridge: files, and where nothing can be cut off by that, the bridge at once.
 *
 * @throws ERR_NETWORK, ERR_NO_LINK
 */
export function planBridge(request: BridgeRequest, facts: BridgeFacts): BridgePlan {
  const { name, uplinks } = request;
  checkName('a bridge', name);
  checkAddressing(name, request);
  refuseLoneGateway(name, request);
  const manager = managerOf(facts, request);
  const there = facts.links.find(link => link.name === name);
  if (there && there.kind !== 'bridge')
    throw refused(`${name} is there, and is no bridge`, 'choose another name');
  for (const uplink of uplinks) checkUplink(uplink, request, facts, manager);
  const moves = uplinks.some(uplink => (facts.addresses[uplink] ?? []).length > 0);
  const files = bridgeFiles(request, manager);
  return moves
    ? { steps: files, takesEffect: 'boot' }
    : { steps: [...files, { do: 'set-up-bridge', name, manager }], takesEffect: 'now' };
}

/**
 * Files of a bridge that spawnlet made, among all of the host's directories for them; empty: it did not make it.
 *
 * @param names of the files in {@link bridgeDirectories}, by directory
 */
export function filesOfBridge(name: string, names: Readonly<Record<string, readonly string[]>>): string[] {
  const networkd = (names[networkdDirectory] ?? []).filter(
    file =>
      file === `${stem(name)}.netdev` ||
      file === `${stem(name)}.network` ||
      (file.startsWith(`${stem(name)}.port`) &&
        /^\d+\.network$/.test(file.slice(`${stem(name)}.port`.length))),
  );
  const ifupdown = (names[interfacesDirectory] ?? []).filter(
    file => `${interfacesDirectory}/${file}` === stanzasOf(name),
  );
  return [
    ...networkd.map(file => `${networkdDirectory}/${file}`),
    ...ifupdown.map(file => `${interfacesDirectory}/${file}`),
  ];
}

/** Where files of bridges lie. */
export const bridgeDirectories = [networkdDirectory, interfacesDirectory];

/**
 * What takes a bridge away that spawnlet made.
 *
 * @param ports links that are in it now
 * @throws ERR_NO_LINK if spawnlet made no such bridge, ERR_NETWORK while machines are on it
 */
export function planBridgeRemoval(
  name: string,
  files: readonly string[],
  ports: readonly string[],
): readonly BridgeStep[] {
  if (files.length === 0)
    throw new SpawnletError('ERR_NO_LINK', `there is no bridge ${JSON.stringify(name)} that spawnlet made`, {
      hint: 'spawnlet network ls shows them',
    });
  const machines = ports.filter(port => /^v[bcs]\d*[-+]/.test(port));
  if (machines.length > 0)
    throw refused(`${name} has ports of machines: ${machines.join(', ')}`, 'stop these machines first');
  const removals = files.map((path): HostStep => ({ do: 'remove', path }));
  const manager = files.some(path => path.startsWith(networkdDirectory)) ? 'networkd' : 'ifupdown';
  const down: TakeDownBridge = { do: 'take-down-bridge', name, manager };
  // ifdown reads the stanzas; systemd-networkd would make the bridge again.
  return manager === 'networkd' ? [...removals, down] : [down, ...removals];
}
