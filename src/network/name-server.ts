import { execLine } from '../systemd/escape.ts';
import { renderUnit, section, unitFile } from '../systemd/unit-file.ts';
import { type NatBridge, namesDirectory } from './nat-bridge.ts';

/** Who answers questions for names on a bridge, where dnsmasq is installed. */
export interface NameServer {
  readonly of: NatBridge;
  readonly unit: string;
  /** Whose names they are, in words. */
  readonly users: string;
  /** RuntimeDirectory=, below /run: it is there while the unit answers. */
  readonly runtime: string;
  /** Domains of which nobody else is asked. */
  readonly domains: readonly string[];
}

const dnsmasq = '/usr/sbin/dnsmasq';

/** Is there while the unit answers. */
export const markOf = ({ runtime }: NameServer): string => `/run/${runtime}`;

/**
 * Its unit. Names come from files that appear and go with those who have them, all else from the name servers of the host, those
 * included that only the host itself reaches. It is not asked by anybody but who is on the bridge.
 */
export const nameServerText = ({ of, users, runtime, domains }: NameServer): string =>
  renderUnit(
    unitFile(
      `Names of ${users}; written by spawnlet. Without dnsmasq they ask the name servers of the host.`,
      [
        section('Unit', [
          ['Description', `Names of ${users} on ${of.bridge}`],
          ['BindsTo', of.unit],
          ['After', of.unit],
          ['ConditionPathExists', dnsmasq],
          ...(of.lasts === 'while needed' ? [['StopWhenUnneeded', 'yes'] as const] : []),
        ]),
        section('Service', [
          // Its first process ends when the second one listens.
          ['Type', 'forking'],
          [
            'ExecStart',
            execLine([
              dnsmasq,
              '--conf-file=/dev/null',
              '--pid-file=',
              `--interface=${of.bridge}`,
              '--except-interface=lo',
              '--bind-interfaces',
              '--no-hosts',
              '--hostsdir=/run/names',
              ...domains.map(domain => `--local=/${domain}/`),
              // A name that was asked for before somebody had it is not held to be none afterwards.
              '--no-negcache',
              '--cache-size=1000',
            ]),
          ],
          ['Restart', 'on-failure'],
          ['RestartSec', '1'],
          ['RuntimeDirectory', runtime],
          ['BindReadOnlyPaths', `${namesDirectory(of)}:/run/names`],
          ['DynamicUser', 'yes'],
          ['AmbientCapabilities', 'CAP_NET_BIND_SERVICE'],
          ['CapabilityBoundingSet', 'CAP_NET_BIND_SERVICE'],
          ['MemoryMax', '64M'],
        ]),
      ],
    ),
  );
