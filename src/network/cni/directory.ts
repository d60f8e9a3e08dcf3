import { join } from 'node:path';
import type { Files } from '../../host/files.ts';
import { type NetworkList, parseNetworkList } from './list.ts';

/**
 * The network of a directory, as container runtimes choose it: that of its first file by name, a `.conflist`, or a `.conf` or
 * `.json` with one plugin or a list of them. Undefined if there is none.
 *
 * @throws ERR_CNI_CONFIG for a file that is wrong: no other one takes its place
 */
export async function networkOf(
  files: Pick<Files, 'list' | 'read'>,
  directory: string,
): Promise<{ readonly network: NetworkList; readonly file: string } | undefined> {
  const names = (await files.list(directory)).filter(name => /\.(?:conflist|conf|json)$/.test(name)).sort();
  for (const name of names) {
    const file = join(directory, name);
    const text = await files.read(file);
    // It may have gone meanwhile.
    if (text !== undefined)
      return { network: parseNetworkList(name.endsWith('.conflist') ? text : listed(text), file), file };
  }
  return undefined;
}

/** The configuration of one plugin as a list of one; anything else as it is. */
function listed(text: string): string {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value !== 'object' || value === null || !('type' in value) || 'plugins' in value) return text;
    const { cniVersion, name } = value as { readonly cniVersion?: unknown; readonly name?: unknown };
    return JSON.stringify({ cniVersion, name, plugins: [value] });
  } catch {
    return text;
  }
}
