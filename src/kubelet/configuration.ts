import { isIP, isIPv4 } from 'node:net';
import { parseDuration } from '../host/duration.ts';
import { SpawnletError } from '../host/error.ts';
import type { Files } from '../host/files.ts';
import { nearest } from '../host/nearest.ts';
import { type Node, tellFaults } from '../host/yaml.ts';
import type { Range } from '../network/cni/default.ts';
import { parseCidr } from '../network/subnet.ts';
import { type ManifestDocument, parseManifest } from '../pod/spec/manifest.ts';
import { pathText } from '../pod/spec/path.ts';
import { defaults } from './configuration-defaults.ts';

/** What of a KubeletConfiguration means something here. */
export interface Configuration {
  readonly staticPodPath?: string;
  readonly podRange?: Range;
  readonly clusterDNS: readonly string[];
  readonly clusterDomain: string;
  /** Undefined: as many as the host. */
  readonly podPidsLimit?: number;
  /** Whole path. */
  readonly resolvConf?: string;
  /** Milliseconds; undefined for the kubelet's. */
  readonly maxContainerRestartPeriod?: number;
}

export const defaultConfiguration: Configuration = {
  clusterDNS: [],
  clusterDomain: 'cluster.local',
};

const apiVersion = 'kubelet.config.k8s.io/v1beta1';
const kind = 'KubeletConfiguration';

/** A value that a field does not take; the text says what it does. */
class Wrong extends Error {}

type Reader = (node: Node) => Partial<Configuration>;

function textOf(node: Node, what: string): string {
  if (node.kind === 'scalar' && typeof node.value === 'string') return node.value;
  throw new Wrong(`takes ${what}`);
}

const pathOf = (node: Node): string => {
  const path = textOf(node, 'an absolute path');
  if (path.startsWith('/')) return path;
  throw new Wrong('takes an absolute path');
};

/** An IPv4 network by its first address, with room for a bridge and a pod. */
export function isPodRange(text: string): boolean {
  const { address = '', prefix = 32 } = parseCidr(text) ?? {};
  const number = address.split('.').reduce((sum, part) => sum * 256 + Number(part), 0);
  return isIPv4(address) && prefix > 0 && prefix <= 30 && number % 2 ** (32 - prefix) === 0;
}

/** `10.20.0.0/16`, and with a comma a second one of the other family. */
function rangeOf(node: Node): Range {
  const texts = textOf(node, 'a network').split(',');
  const families = texts.map(text => (parseCidr(text) ? isIP(text.split('/', 1)[0] ?? '') : 0));
  const [v4, v6] = [4, 6].map(family => texts[families.indexOf(family)]);
  if (v4 === undefined || !isPodRange(v4) || texts.length > 2 || (texts.length === 2 && v6 === undefined))
    throw new Wrong('takes a network such as 10.20.0.0/16, and with a comma one of IPv6');
  return { v4, ...(v6 !== undefined && { v6 }) };
}

function serversOf(node: Node): string[] {
  const what = 'takes a list of addresses';
  if (node.kind !== 'list') throw new Wrong(what);
  return node.items.map(item => {
    const address = textOf(item, 'a list of addresses');
    if (isIP(address) === 0) throw new Wrong(what);
    return address;
  });
}

function domainOf(node: Node): string {
  const domain = textOf(node, 'a domain');
  if (/^(?=.{1,253}$)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$/.test(domain))
    return domain;
  throw new Wrong('takes a domain such as cluster.local');
}

function pidsOf(node: Node): Partial<Configuration> {
  const value = node.kind === 'scalar' ? node.value : undefined;
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < -1 || value === 0)
    throw new Wrong('takes a number of processes, or -1 for no limit');
  return value === -1 ? {} : { podPidsLimit: value };
}

/** The kubelet takes one second to five minutes. */
function restartsOf(node: Node): Partial<Configuration> {
  if (node.kind !== 'map') throw new Wrong('takes a mapping with maxContainerRestartPeriod');
  const other = [...node.entries.keys()].find(key => key !== 'maxContainerRestartPeriod');
  if (other !== undefined) throw new Wrong(`does not take ${other}, but maxContainerRestartPeriod`);
  const period = node.entries.get('maxContainerRestartPeriod');
  const text = period?.kind === 'scalar' && typeof period.value === 'string' ? period.value : '';
  const milliseconds = parseDuration(text);
  if (milliseconds === undefined || milliseconds < 1000 || milliseconds > 300_000)
    throw new Wrong('takes a maxContainerRestartPeriod from 1s to 300s');
  return { maxContainerRestartPeriod: milliseconds };
}

/** Takes the one value that holds here. */
const only =
  (value: string | boolean, why: string): Reader =>
  node => {
    if (node.kind === 'scalar' && node.value === value) return {};
    throw new Wrong(`takes ${String(value)} alone: ${why}`);
  };

const readers: Readonly<Record<string, Reader>> = {
  staticPodPath: node => ({ staticPodPath: pathOf(node) }),
  podCIDR: node => ({ podRange: rangeOf(node) }),
  clusterDNS: node => ({ clusterDNS: serversOf(node) }),
  clusterDomain: node => ({ clusterDomain: domainOf(node) }),
  podPidsLimit: pidsOf,
  resolvConf: node => ({ resolvConf: pathOf(node) }),
  crashLoopBackOff: restartsOf,
  cgroupDriver: only('systemd', 'limits are those of units'),
  seccompDefault: only(true, 'a container that says nothing has the profile RuntimeDefault'),
};

/** `{}`, `[]`, `""`, `0` and `0s` say nothing to Kubernetes. */
function isNothing(node: Node): boolean {
  if (node.kind === 'scalar') return [null, '', 0, '0', '0s'].includes(node.value as null);
  return (node.kind === 'list' ? node.items : [...node.entries.values()]).every(isNothing);
}

function isDefault(node: Node, value: unknown): boolean {
  if (node.kind === 'list')
    return (
      Array.isArray(value) &&
      value.length === node.items.length &&
      node.items.every((item, at) => isDefault(item, value[at]))
    );
  if (node.kind === 'map') return false;
  const duration = typeof value === 'string' ? parseDuration(value) : undefined;
  const isText = typeof node.value === 'string';
  return node.value === value || (isText && duration !== undefined && parseDuration(node.value) === duration);
}

/** What a field of the configuration says. @throws Wrong */
function readField(name: string, node: Node): Partial<Configuration> {
  if (isNothing(node)) return {};
  const reader = readers[name];
  if (reader) return reader(node);
  const value = defaults[name];
  if (isDefault(node, value)) return {};
  throw new Wrong(
    `is not supported${value === undefined ? '' : `, but as ${JSON.stringify(value)}`}: it does nothing here`,
  );
}

const mostMistakes = 20;

/**
 * The configuration of a file: fields that do nothing here are refused, unless they say what the kubelet does by itself.
 *
 * @throws ERR_CONFIGURATION with each mistake: file, line, field, and what would be right
 */
export async function parseConfiguration(text: string, file: string): Promise<Configuration> {
  const documents = await parseManifest(text, file);
  const [document] = documents;
  if (!document || documents.length > 1) throw refused(`${file}:1: takes one document of kind ${kind}`);
  const mistakes = [...document.faults];
  const wrong = (path: string, said: string, line = document.lineOf([path])) =>
    void mistakes.push({ line, path, text: said });
  if (mistakes.length === 0 && document.apiVersion !== apiVersion) wrong('apiVersion', `takes ${apiVersion}`);
  if (mistakes.length === 0 && document.kind !== kind) wrong('kind', `takes ${kind}`);
  const configuration = mistakes.length === 0 ? fieldsOf(document, wrong) : defaultConfiguration;
  if (mistakes.length > 0) throw refused(tellFaults(mistakes, file, mostMistakes));
  return configuration;
}

function fieldsOf(
  document: ManifestDocument,
  wrong: (path: string, said: string, line: number) => void,
): Configuration {
  const { root } = document;
  const known = [...Object.keys(readers), ...Object.keys(defaults)];
  let configuration = defaultConfiguration;
  for (const [name, node] of root.kind === 'map' ? root.entries : []) {
    if (name === 'apiVersion' || name === 'kind') continue;
    try {
      if (!known.includes(name)) {
        const near = nearest(name, known);
        throw new Wrong(`is not known${near === undefined ? '' : `: is ${near} meant?`}`);
      }
      configuration = { ...configuration, ...readField(name, node) };
    } catch (error) {
      if (!(error instanceof Wrong)) throw error;
      wrong(pathText([name]), error.message, document.lineOf([name]));
    }
  }
  return configuration;
}

const refused = (told: string) =>
  new SpawnletError('ERR_CONFIGURATION', told, { hint: 'correct these places: nothing was started' });

/** @param path of `--config`; undefined: the kubelet's defaults. @throws ERR_CONFIGURATION */
export async function readConfiguration(
  files: Pick<Files, 'read'>,
  path: string | undefined,
): Promise<Configuration> {
  if (path === undefined) return defaultConfiguration;
  const text = await files.read(path);
  if (text !== undefined) return parseConfiguration(text, path);
  throw new SpawnletError('ERR_CONFIGURATION', `there is no file ${path}`, {
    hint: `a file of kind ${kind}, apiVersion ${apiVersion}`,
  });
}
