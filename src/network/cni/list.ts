import { SpawnletError } from '../../host/error.ts';
import type { Json } from '../../host/step.ts';

/** A network as the Container Network Interface has it: the list of plugins that a `.conflist` file holds. */
export interface NetworkList {
  readonly cniVersion: CniVersion;
  readonly name: string;
  /** In the order in which they are asked to add a container; to take it away, the other way round. */
  readonly plugins: readonly PluginConfig[];
}

/** What one plugin is told, as it stands in the file: each has settings of its own. */
export interface PluginConfig {
  /** Name of the program. */
  readonly type: string;
  /** What the plugin takes of the runtime, by name: `portMappings`. */
  readonly capabilities?: Readonly<Record<string, boolean>>;
  readonly [setting: string]: Json | undefined;
}

export const cniVersions = ['0.3.0', '0.3.1', '0.4.0', '1.0.0'] as const;
export type CniVersion = (typeof cniVersions)[number];

/** What the specification allows as name of a network and as ID of a container. */
const namePattern = /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/;
export const isCniName = (text: string): boolean => namePattern.test(text) && text.length <= 200;

type Fields = Readonly<Record<string, unknown>>;

const isObject = (value: unknown): value is Fields =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/**
 * Reads a network configuration list. What a plugin's settings mean is the plugin's to know; what the runtime itself acts
 * upon is checked.
 *
 * @param file what an error names
 * @throws ERR_CNI_CONFIG
 */
export function parseNetworkList(text: string, file: string): NetworkList {
  const invalid = (where: string, hint: string) =>
    new SpawnletError('ERR_CNI_CONFIG', `${file}: ${where}`, { hint });
  const list = parsed(text, invalid);
  if ('type' in list && !('plugins' in list))
    throw invalid(
      'this is the configuration of one plugin',
      'put it into a list: {"cniVersion": …, "name": …, "plugins": [{…}]}, in a .conflist',
    );
  const version = cniVersions.find(known => known === list['cniVersion']);
  if (version === undefined)
    throw invalid(
      `.cniVersion is ${JSON.stringify(list['cniVersion']) ?? 'missing'}`,
      `one of ${cniVersions.join(', ')}`,
    );
  const name = list['name'];
  if (typeof name !== 'string' || !isCniName(name))
    throw invalid('.name is no name of a network', "letters, digits, '_', '.' and '-'");
  const { plugins } = list;
  if (!Array.isArray(plugins) || plugins.length === 0)
    throw invalid('.plugins is no list of plugins', 'a network has at least one: bridge');
  return { cniVersion: version, name, plugins: plugins.map((one, at) => pluginOf(one, at, invalid)) };
}

type Invalid = (where: string, hint: string) => SpawnletError;

function parsed(text: string, invalid: Invalid): Fields {
  try {
    const value: unknown = JSON.parse(text);
    if (isObject(value)) return value;
  } catch (cause) {
    throw invalid(`not JSON: ${cause instanceof Error ? cause.message : ''}`, 'jq . FILE says where');
  }
  throw invalid('not an object', '{"cniVersion": "1.0.0", "name": …, "plugins": […]}');
}

/** A program's name alone: a path would lead out of the plugins' directory. */
const isProgram = (value: unknown): value is string =>
  typeof value === 'string' && /^[a-zA-Z0-9][\w.-]*$/.test(value);

function pluginOf(value: unknown, at: number, invalid: Invalid): PluginConfig {
  const where = `.plugins[${at}]`;
  if (!isObject(value)) throw invalid(`${where} is not an object`, '{"type": "bridge", …}');
  const { type, capabilities, ipam } = value;
  if (!isProgram(type)) throw invalid(`${where}.type is no name of a plugin`, 'as in "type": "bridge"');
  if (isObject(ipam) && ipam['type'] !== undefined && !isProgram(ipam['type']))
    throw invalid(`${where}.ipam.type is no name of a plugin`, 'as in "type": "host-local"');
  const isTable =
    isObject(capabilities) && Object.values(capabilities).every(one => typeof one === 'boolean');
  if (capabilities !== undefined && !isTable)
    throw invalid(`${where}.capabilities is no table of switches`, 'as in {"portMappings": true}');
  return value as PluginConfig;
}

/** Programs that a network needs: its plugins, and those that give addresses for them. */
export function programsOf({ plugins }: NetworkList): string[] {
  const names = plugins.flatMap(({ type, ipam }) => {
    const { type: second } = isObject(ipam) ? ipam : {};
    return typeof second === 'string' ? [type, second] : [type];
  });
  return [...new Set(names)];
}
