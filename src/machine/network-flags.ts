/** `--network` and `--publish`. */

import { SpawnletError } from '../host/error.ts';
import { named } from './fields.ts';
import { take } from './flag-forms.ts';
import { Expected } from './shape.ts';
import type { Interface, InterfaceKind, Network } from './spec.ts';
import * as values from './values.ts';

const networkForms =
  'host, none, nat, bridge=BR, ovs=BR[,vlan=N], macvlan=IF, ipvlan=IF, zone=Z or physical=IF; then ' +
  'name=, mac=, address=, gateway=, dns= (the last three more than once) or dhcp, with commas between';

/** An interface as a word with sub-options has it; its name where one was given. */
type WrittenInterface = InterfaceKind & Omit<Interface, 'name' | 'kind'> & { readonly name?: string };

/** `bridge=br0,address=192.0.2.7/24,gateway=192.0.2.1`. Throws {@link Expected}. */
export function parseInterface(text: string): WrittenInterface {
  const [head = '', ...rest] = text.split(',');
  const options = new Map<string, string[]>();
  for (const part of rest) {
    const [key = '', value] = part.split(/=(.*)/s, 2);
    options.set(key, [...(options.get(key) ?? []), value ?? '']);
  }
  const all = (key: string): string[] => {
    const found = options.get(key) ?? [];
    options.delete(key);
    return found;
  };
  const one = (key: string): string | undefined => {
    const [found, ...more] = all(key);
    if (more.length > 0) throw new Expected(`${key}= once`);
    return found;
  };
  const kind = parseKind(head, one);
  const dhcp = all('dhcp');
  const cidrs = all('address').map(values.parseCidr);
  if (dhcp.some(value => value !== '') || (dhcp.length > 0 && cidrs.length > 0))
    throw new Expected('dhcp, or address=: one of them');
  const [name, mac] = [one('name'), one('mac')];
  const written: WrittenInterface = {
    ...kind,
    addresses: dhcp.length > 0 ? 'dhcp' : cidrs,
    gateways: all('gateway').map(values.parseAddress),
    dns: all('dns').map(values.parseAddress),
    ...(name !== undefined && { name: values.parseInterfaceName(name) }),
    ...(mac !== undefined && { mac: values.parseMac(mac) }),
  };
  const [unknown] = options.keys();
  if (unknown !== undefined) throw new Expected(networkForms);
  return written;
}

function parseKind(head: string, one: (key: string) => string | undefined): InterfaceKind {
  const [kind = '', value] = head.split(/=(.*)/s, 2);
  if (kind === 'nat' && value === undefined) return { kind, ports: [] };
  if (value === undefined) throw new Expected(networkForms);
  switch (kind) {
    case 'bridge':
      return { kind, bridge: values.parseInterfaceName(value) };
    case 'ovs': {
      const vlan = one('vlan');
      if (vlan !== undefined && !/^\d{1,4}$/.test(vlan)) throw new Expected('vlan= from 1 to 4094');
      return {
        kind,
        bridge: values.parseInterfaceName(value),
        ...(vlan !== undefined && { vlan: Number(vlan) }),
      };
    }
    case 'macvlan':
    case 'ipvlan':
      return { kind, parent: values.parseInterfaceName(value) };
    case 'zone':
      return { kind, zone: values.parseZone(value) };
    case 'physical':
      return { kind, interface: values.parseInterfaceName(value) };
    default:
      throw new Expected(networkForms);
  }
}

export function parseNetwork(texts: readonly string[]): Network {
  const [first = ''] = texts;
  const alone = texts.find(text => text === 'host' || text === 'none');
  if (alone !== undefined) {
    if (texts.length === 1) return { kind: alone === 'host' ? 'host' : 'none' };
    throw new SpawnletError('ERR_FLAG_CONFLICT', `--network ${alone} goes with no other --network`, {
      hint: 'leave one of them out',
    });
  }
  const written = texts.map(text => take('network', text, parseInterface));
  return { kind: 'private', interfaces: take('network', first, () => named(written)) };
}

/** Ports are those of the first interface with NAT. */
export function withPorts(network: Network, texts: readonly string[]): Network {
  const ports = texts.map(text => take('publish', text, values.parsePort));
  const interfaces = network.kind === 'private' ? network.interfaces : [];
  const at = interfaces.findIndex(({ kind }) => kind === 'nat');
  const nat = interfaces[at];
  if (nat?.kind === 'nat')
    return {
      kind: 'private',
      interfaces: interfaces.toSpliced(at, 1, { ...nat, ports: [...nat.ports, ...ports] }),
    };
  throw new SpawnletError('ERR_FLAG_CONFLICT', '--publish needs an interface with NAT', {
    hint: 'add --network nat; on a bridge, or with the network of the host, ports are open as they are',
  });
}
