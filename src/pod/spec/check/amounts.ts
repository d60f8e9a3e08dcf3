import type { PodSpec, ResourceRequirements } from '../../api/kubernetes.ts';
import { parseQuantity, quantityOf } from '../quantity.ts';
import { containerResources, isOfPods, isOvercommitted } from '../resources.ts';
import type { Place } from './place.ts';

const ofContainers = ['cpu', 'memory', 'ephemeral-storage'];

/** What a container asks for and may use. */
export function checkAmounts(resources: ResourceRequirements | undefined, place: Place): void {
  checkRequirements(resources ?? {}, whyNotOfContainers, place);
}

function whyNotOfContainers(name: string): string | undefined {
  if (ofContainers.includes(name) || isHugePages(name)) return undefined;
  if (name.includes('/')) return 'is not supported: needs a driver of devices, which does not run here';
  return `is not known: one of ${ofContainers.join(', ')}, hugepages-2Mi`;
}

/** What running a pod costs. */
export function checkOverhead(overhead: PodSpec['overhead'], place: Place): void {
  for (const [name, text] of Object.entries(overhead ?? {}))
    place.at(name).wrong(whyNotOfContainers(name) ?? whyNoAmount(name, text));
}

/** What a pod as a whole asks for and may use, and that its containers keep within it. */
export function checkPodAmounts(spec: PodSpec, place: Place): void {
  if (spec.resources === undefined) return;
  const { limits = {}, requests = {} } = spec.resources;
  const known = 'cpu, memory, hugepages-2Mi';
  checkRequirements(
    spec.resources,
    name => (isOfPods(name) ? undefined : `is not known: one of ${known}`),
    place,
  );
  for (const [name, quantity] of containerResources({ spec }, 'requests')) {
    const own = requests[name];
    if (own !== undefined && quantity.nano > quantityOf(own).nano)
      place.at('requests', name).wrong('is less than what the containers ask for');
  }
  for (const [name, quantity] of containerResources({ spec }, 'limits')) {
    const own = limits[name];
    if (own !== undefined && isHugePages(name) && quantity.nano > quantityOf(own).nano)
      place.at('limits', name).wrong('is less than what the containers may use');
  }
  for (const { name, resources } of spec.containers) {
    for (const [resource, limit] of Object.entries(resources?.limits ?? {})) {
      const own = limits[resource];
      if (own !== undefined && quantityOf(limit).nano > quantityOf(own).nano)
        place.at('limits', resource).wrong(`is less than the limit of the container ${name}, ${limit}`);
    }
  }
}

const isHugePages = (name: string) => name.startsWith('hugepages-');

function checkRequirements(
  { limits = {}, requests = {} }: ResourceRequirements,
  whyNot: (name: string) => string | undefined,
  place: Place,
): void {
  for (const [kind, amounts] of Object.entries({ limits, requests })) {
    for (const [name, text] of Object.entries(amounts)) {
      // A limit that is asked for as well, because nothing else is, is told once.
      if (kind === 'requests' && limits[name] === text) continue;
      const at = place.at(kind, name);
      at.wrong(whyNot(name) ?? whyNoAmount(name, text));
    }
  }
  for (const [name, text] of Object.entries(requests)) {
    const limit = limits[name];
    const at = place.at('requests', name);
    if (limit === undefined) {
      if (!isOvercommitted(name)) at.wrong(`needs a limit of ${name} that is as much`);
    } else if (!isOvercommitted(name) && quantityOf(text).nano !== quantityOf(limit).nano)
      at.wrong(`does not take ${text}: as much as its limit, ${limit}`);
    else if (quantityOf(text).nano > quantityOf(limit).nano)
      at.wrong(`does not take ${text}: not more than its limit, ${limit}`);
  }
  const names = [...Object.keys(limits), ...Object.keys(requests)];
  if (names.some(isHugePages) && !names.includes('cpu') && !names.includes('memory'))
    place.wrong('has huge pages, and needs cpu or memory with them');
}

function whyNoAmount(name: string, text: string): string | undefined {
  const { nano } = quantityOf(text);
  if (nano < 0n) return `does not take ${text}: at least 0`;
  if (!isHugePages(name)) return undefined;
  const page = parseQuantity(name.slice('hugepages-'.length));
  if (page === undefined || page.nano <= 0n)
    return 'is not known: the size of a page stands behind hugepages-, as in 2Mi';
  return nano % page.nano === 0n ? undefined : `does not take ${text}: whole pages`;
}
