/** What a container may be told about its own pod: in a variable, or in a file. */
import type { Container, Pod, ResourceFieldSelector } from '../../api/kubernetes.ts';
import { countOf, quantityOf } from '../quantity.ts';

/** What is known of a pod only where it runs. Addresses are those of the host's first family first. */
export interface PodFacts {
  readonly nodeName: string;
  readonly hostIPs: readonly string[];
  readonly podIPs: readonly string[];
  /** What the node gives to pods, as quantities: the limit of a container that has none. */
  readonly allocatable: { readonly [resource: string]: string };
}

/** Fields that may be told in a file, and those that may be told in a variable; labels and annotations by key in both. */
const ofObject = ['metadata.name', 'metadata.namespace', 'metadata.uid'];
export const fileFields = [...ofObject, 'metadata.labels', 'metadata.annotations'];
export const variableFields = [
  ...ofObject,
  'spec.nodeName',
  'spec.serviceAccountName',
  'status.hostIP',
  'status.hostIPs',
  'status.podIP',
  'status.podIPs',
];

/** `metadata.labels['app']` in its two parts; undefined for a path without brackets. */
export function subscripted(path: string): readonly [path: string, key: string] | undefined {
  const match = /^(.+?)\['(.*)'\]$/s.exec(path);
  return match ? [match[1] ?? '', match[2] ?? ''] : undefined;
}

/** The value of a field of a pod; a label or annotation that is not there is empty. */
export function podField({ metadata, spec }: Pod, path: string, facts: PodFacts): string {
  const [map, key] = subscripted(path) ?? [];
  if (map === 'metadata.labels') return metadata?.labels?.[key ?? ''] ?? '';
  if (map === 'metadata.annotations') return metadata?.annotations?.[key ?? ''] ?? '';
  switch (path) {
    case 'metadata.name':
      return metadata?.name ?? '';
    case 'metadata.namespace':
      return metadata?.namespace ?? '';
    case 'metadata.uid':
      return metadata?.uid ?? '';
    case 'metadata.labels':
      return linesOf(metadata?.labels ?? {});
    case 'metadata.annotations':
      return linesOf(metadata?.annotations ?? {});
    case 'spec.nodeName':
    case 'spec.host':
      return spec?.nodeName ?? facts.nodeName;
    case 'spec.serviceAccountName':
      return spec?.serviceAccountName ?? '';
    case 'status.hostIP':
      return facts.hostIPs[0] ?? '';
    case 'status.hostIPs':
      return facts.hostIPs.join(',');
    case 'status.podIP':
      return facts.podIPs[0] ?? '';
    case 'status.podIPs':
      return facts.podIPs.join(',');
    default:
      throw new Error(`the field ${path} of a pod was not refused`);
  }
}

/** A line for each entry, `key="value"`, in the order of the keys' bytes. */
function linesOf(map: { readonly [key: string]: string }): string {
  const entries = Object.entries(map).toSorted(([one], [other]) =>
    Buffer.compare(Buffer.from(one), Buffer.from(other)),
  );
  return entries.map(([key, value]) => `${key}=${goQuoted(value)}`).join('\n');
}

const escapes = new Map(
  Object.entries({ '\x07': 'a', '\b': 'b', '\f': 'f', '\n': 'n', '\r': 'r', '\t': 't', '\v': 'v' }),
);

/** A text in quotes as Go writes it: programs that read such files expect that. */
function goQuoted(text: string): string {
  const inner = text.replaceAll(/["\\]|[^\p{L}\p{M}\p{N}\p{P}\p{S} ]/gu, character => {
    const code = character.codePointAt(0) ?? 0;
    const hex = (digits: number) => code.toString(16).padStart(digits, '0');
    if (character === '"' || character === '\\') return `\\${character}`;
    const letter = escapes.get(character);
    if (letter !== undefined) return `\\${letter}`;
    if (code < 0x80) return `\\x${hex(2)}`;
    return code > 0xffff ? `\\U${hex(8)}` : `\\u${hex(4)}`;
  });
  return `"${inner}"`;
}

/** Resources that a container without a limit has as much of as its pod or the node. */
const shared = ['cpu', 'memory', 'ephemeral-storage'];

/**
 * What a container asks for or may use, in units of the divisor, rounded up. undefined if the pod has no container of that
 * name.
 */
export function containerResource(
  pod: Pod,
  container: Container,
  selector: ResourceFieldSelector,
  facts: PodFacts,
): string | undefined {
  const { containerName = '', resource } = selector;
  const all = [...(pod.spec?.containers ?? []), ...(pod.spec?.initContainers ?? [])];
  const target = containerName === '' ? container : all.find(({ name }) => name === containerName);
  if (target === undefined) return undefined;
  const kind = resource.startsWith('limits.') ? 'limits' : 'requests';
  const name = resource.slice(kind.length + 1);
  const own = quantityOf(target.resources?.[kind]?.[name] ?? '0');
  const whole = quantityOf(pod.spec?.resources?.limits?.[name] ?? '0');
  const isOpen = own.nano === 0n && kind === 'limits' && shared.includes(name);
  const most = whole.nano === 0n ? quantityOf(facts.allocatable[name] ?? '0') : whole;
  const divisor = quantityOf(selector.divisor ?? '0').nano;
  return String(countOf((isOpen ? most : own).nano, divisor === 0n ? 1_000_000_000n : divisor));
}
