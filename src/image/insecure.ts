import { BlockList, isIP } from 'node:net';
import { messageOf, SpawnletError } from '../host/error.ts';
import type { Files } from '../host/files.ts';
import { settingsFile } from '../names.ts';

/**
 * Which registries may be spoken to without TLS or with an unknown certificate: a rule made of hosts with their ports
 * (`10.1.0.1:5000`), and of networks (`10.1.0.0/16`) for registries that are named by address.
 * Throws `ERR_SETTINGS` for an entry that is neither.
 */
export function insecureRule(entries: readonly string[]): (host: string) => boolean {
  const hosts = new Set<string>();
  const networks = entries.filter(entry => entry.includes('/'));
  const blocks = new BlockList();
  for (const entry of entries) {
    if (!entry.includes('/')) {
      if (entry === '' || !URL.canParse(`http://${entry}`)) throw wrongEntry(entry);
      hosts.add(entry);
      continue;
    }
    const [address = '', bits = ''] = entry.split('/');
    const version = isIP(address);
    if (version === 0 || !/^\d{1,3}$/.test(bits) || Number(bits) > (version === 4 ? 32 : 128))
      throw wrongEntry(entry);
    blocks.addSubnet(address, Number(bits), version === 4 ? 'ipv4' : 'ipv6');
  }
  return host => {
    if (hosts.has(host)) return true;
    if (networks.length === 0) return false;
    const address = (URL.parse(`http://${host}`)?.hostname ?? '').replace(/^\[|\]$/g, '');
    const version = isIP(address);
    return version !== 0 && blocks.check(address, version === 4 ? 'ipv4' : 'ipv6');
  };
}

function wrongEntry(entry: unknown): SpawnletError {
  return new SpawnletError(
    'ERR_SETTINGS',
    `${JSON.stringify(entry)} is not a registry's HOST[:PORT] or a network in insecureRegistries`,
    { hint: `correct ${settingsFile}` },
  );
}

/** What the settings may have. */
const keys = ['insecureRegistries'];

/** `insecureRegistries` of the settings; empty without settings. Throws `ERR_SETTINGS`. */
export async function insecureRegistries(files: Files, path: string = settingsFile): Promise<string[]> {
  const text = await files.read(path);
  if (text === undefined) return [];
  const { parse } = await import('yaml');
  let settings: unknown;
  try {
    settings = parse(text);
  } catch (error) {
    throw new SpawnletError('ERR_SETTINGS', `${path} is not YAML`, {
      hint: messageOf(error).split('\n', 1)[0] ?? '',
      cause: error,
    });
  }
  if (settings === null) return [];
  const hint = `it has ${keys.join(', ')}, as in 'insecureRegistries: [10.0.0.5:5000]'`;
  if (typeof settings !== 'object' || Array.isArray(settings))
    throw new SpawnletError('ERR_SETTINGS', `${path} is no mapping of keys to values`, { hint });
  const unknown = Object.keys(settings).find(key => !keys.includes(key));
  if (unknown !== undefined)
    throw new SpawnletError('ERR_SETTINGS', `${path} has ${JSON.stringify(unknown)}, which is no setting`, {
      hint,
    });
  const value: unknown = 'insecureRegistries' in settings ? settings.insecureRegistries : undefined;
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value))
    throw new SpawnletError('ERR_SETTINGS', `insecureRegistries in ${path} is not a list`, { hint });
  return value.map((entry: unknown) => {
    if (typeof entry === 'string') return entry;
    throw wrongEntry(entry);
  });
}
