/** Who a pod of a file is: the same as long as what was asked for is the same, whichever version of spawnlet reads it. */
import { createHash } from 'node:crypto';
import type { Pod, PodSpec, ResourceRequirements } from '../../api/kubernetes.ts';
import { withField } from '../defaults/with-field.ts';
import { defaultPod } from '../defaults.ts';
import { qosClass } from '../qos.ts';

/**
 * A UID made of values: another value, another UID. In the form of a UUID of version 8, whose bits are whoever's makes it.
 */
export function uidOf(...values: readonly unknown[]): string {
  const bytes = createHash('sha256')
    .update(JSON.stringify(values.map(sorted)))
    .digest()
    .subarray(0, 16);
  bytes.writeUInt8((bytes.readUInt8(6) & 0x0f) | 0x80, 6);
  bytes.writeUInt8((bytes.readUInt8(8) & 0x3f) | 0x80, 8);
  const hex = bytes.toString('hex');
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
}

/** A value whose keys are in the order of the alphabet: in whatever order they were written, it is one value. */
function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value).filter(([, each]) => each !== undefined);
  return Object.fromEntries(
    entries.toSorted(([one], [other]) => (one < other ? -1 : 1)).map(([k, v]) => [k, sorted(v)]),
  );
}

/**
 * The UID of a pod that a file asks for. Of what was written, not of what is decided besides: decisions that a later version
 * takes make no other pod. Processors and memory are left out, since a running pod is given more or less of them, as long as
 * its class of service stays.
 */
export function podUid(pod: Pod, origin: { readonly file: string; readonly nodeName: string }): string {
  const { name, namespace, labels, annotations } = pod.metadata ?? {};
  const resized = pod.spec && withoutAmounts(pod.spec);
  return uidOf(origin, { name, namespace, labels, annotations }, resized, qosClass(defaultPod(pod)));
}

function withoutAmounts(spec: PodSpec): PodSpec {
  const least = <T extends { readonly resources?: ResourceRequirements }>(each: T): T =>
    withField(each, 'resources', resources => ({
      ...resources,
      limits: others(resources.limits),
      requests: others(resources.requests),
    }));
  return withField(least({ ...spec, containers: spec.containers.map(least) }), 'initContainers', all =>
    all.map(least),
  );
}

const others = (amounts: ResourceRequirements['limits']) =>
  Object.fromEntries(Object.entries(amounts ?? {}).filter(([name]) => name !== 'cpu' && name !== 'memory'));
