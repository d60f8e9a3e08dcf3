import type { NetworkList } from './list.ts';

/** Networks that addresses of containers are taken from, as CIDR. */
export interface Range {
  readonly v4: string;
  /** Undefined: containers have no IPv6 beyond their own links. */
  readonly v6?: string;
}

/** What containers have where nobody says otherwise; podman's own range. */
export const defaultRange: Range = { v4: '10.88.0.0/16' };

/**
 * The network that a host has by default: a bridge, whose first address is the host's and the gateway. Masquerading and
 * published ports are no plugin's: see {@link natSteps} of `../nat.ts`, one rule for all containers and a map of ports.
 *
 * Addresses are noted on a file system in memory. After a boot there are none, as there is no container.
 */
export function defaultNetwork(name: string, bridge: string, { v4, v6 }: Range): NetworkList {
  const ranges = v6 === undefined ? [v4] : [v4, v6];
  return {
    cniVersion: '1.0.0',
    name,
    plugins: [
      {
        type: 'bridge',
        bridge,
        isGateway: true,
        hairpinMode: true,
        ipMasq: false,
        ipam: {
          type: 'host-local',
          dataDir: addressesDirectory,
          ranges: ranges.map(subnet => [{ subnet }]),
          routes: ranges.map(subnet => ({ dst: subnet.includes(':') ? '::/0' : '0.0.0.0/0' })),
        },
      },
    ],
  };
}

/** Where the addresses of default networks are noted, by network. */
const addressesDirectory = '/run/spawnlet/cni';
