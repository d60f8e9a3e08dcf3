import { existsSync } from 'node:fs';
import { BlockList, isIP } from 'node:net';
import { networkInterfaces } from 'node:os';
import type { RunRequest } from '../app/request.ts';
import { SpawnletError } from '../host/error.ts';
import { quoted } from '../host/shell.ts';

/** Of directories that `-v` binds, as they are now: at a later start a missing one is the start's error. @throws ERR_FLAG_VALUE */
export function refuseMissingSources({ volumes }: RunRequest): void {
  for (const volume of volumes)
    if (volume.kind === 'bind' && !existsSync(volume.source))
      throw new SpawnletError('ERR_FLAG_VALUE', `-v: there is no ${volume.source} on this host`, {
        hint: `mkdir -p ${quoted(volume.source)}`,
      });
}

/** A port of an address that comes later, as one that moves between hosts does, is published all the same. */
export function tellForeignAddresses({ attachment, name }: RunRequest): void {
  for (const { address } of attachment?.ports ?? [])
    if (address !== undefined && !hasAddress(address))
      process.stderr.write(
        `spawnlet: this host does not have the address ${address}: nobody reaches ${name} by it until it does\n`,
      );
}

function hasAddress(address: string): boolean {
  const own = new BlockList();
  own.addSubnet('127.0.0.0', 8, 'ipv4');
  for (const each of Object.values(networkInterfaces()).flatMap(all => all ?? []))
    own.addAddress(each.address, each.family === 'IPv4' ? 'ipv4' : 'ipv6');
  return own.check(address, isIP(address) === 4 ? 'ipv4' : 'ipv6');
}
