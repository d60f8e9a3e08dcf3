/** The variables of a container, and the command and arguments that they are put into, precisely as Kubernetes does it. */
import type { ConfigMap, Container, EnvVarSource, Pod, Secret } from '../api/kubernetes.ts';
import { containerResource, type PodFacts, podField } from './variables/downward.ts';
import { variableOfFile } from './variables/env-file.ts';
import { expandVariables } from './variables/expansion.ts';

/** What a container's variables are taken from, besides its own pod. */
export interface Sources {
  /** Objects of the pod's namespace. */
  configMap(name: string): ConfigMap | undefined;
  secret(name: string): Secret | undefined;
  /** The text of a file in a volume of the pod. */
  file(volume: string, path: string): string | undefined;
  /** Variables that tell of services; the container's own go before them. */
  readonly services: ReadonlyMap<string, string>;
}

export type Environment =
  | { readonly kind: 'resolved'; readonly variables: ReadonlyMap<string, string> }
  /** The container waits, for this reason and with this message, until what is missing is there. */
  | { readonly kind: 'waiting'; readonly reason: 'CreateContainerConfigError'; readonly message: string };

/** Something that is not there and has to be. */
class Missing extends Error {}

/**
 * The variables of a container: of `envFrom` in its order, then of `env`, where a later one replaces an earlier one and a
 * value may use those before it; and of services, where no other has that name.
 */
export function environmentOf(
  pod: Pod,
  container: Container,
  sources: Sources,
  facts: PodFacts,
): Environment {
  const variables = new Map<string, string>();
  const valueOf = (name: string) => variables.get(name) ?? sources.services.get(name);
  try {
    for (const { prefix = '', configMapRef, secretRef } of container.envFrom ?? []) {
      const data = configMapRef
        ? configData(sources, configMapRef)
        : secretRef && secretData(sources, secretRef);
      for (const [key, value] of data ?? []) variables.set(prefix + key, value);
    }
    for (const { name, value = '', valueFrom } of container.env ?? []) {
      const resolved =
        value === '' && valueFrom
          ? sourceValue(pod, container, valueFrom, sources, facts)
          : expandVariables(value, valueOf);
      if (resolved !== undefined) variables.set(name, resolved);
    }
    for (const [name, value] of sources.services) if (!variables.has(name)) variables.set(name, value);
    for (const [name, value] of variables)
      if (value.includes('\0')) throw new Missing(`the value of ${name} has a NUL character`);
    return { kind: 'resolved', variables };
  } catch (error) {
    if (!(error instanceof Missing)) throw error;
    return { kind: 'waiting', reason: 'CreateContainerConfigError', message: error.message };
  }
}

interface Reference {
  readonly name?: string;
  readonly optional?: boolean;
}

type Data = ReadonlyMap<string, string>;

function configData(sources: Sources, { name = '', optional }: Reference): Data | undefined {
  const object = sources.configMap(name);
  if (object) return new Map(Object.entries(object.data ?? {}));
  if (optional === true) return undefined;
  throw new Missing(`configmap "${name}" not found`);
}

function secretData(sources: Sources, { name = '', optional }: Reference): Data | undefined {
  const object = sources.secret(name);
  const decoded = (base64: string) => Buffer.from(base64, 'base64').toString();
  if (object) return new Map(Object.entries(object.data ?? {}).map(([key, value]) => [key, decoded(value)]));
  if (optional === true) return undefined;
  throw new Missing(`secret "${name}" not found`);
}

/** The value of a variable that comes from elsewhere; undefined if there is none and none is needed. */
function sourceValue(
  pod: Pod,
  container: Container,
  from: EnvVarSource,
  sources: Sources,
  facts: PodFacts,
): string | undefined {
  const { fieldRef, resourceFieldRef, configMapKeyRef, secretKeyRef, fileKeyRef } = from;
  const namespace = pod.metadata?.namespace ?? 'default';
  const keyOf = (
    data: Data | undefined,
    kind: string,
    { key, name = '', optional }: Reference & { key: string },
  ) => {
    const value = data?.get(key);
    if (value !== undefined || optional === true) return value;
    throw new Missing(`couldn't find key ${key} in ${kind} ${namespace}/${name}`);
  };
  if (fieldRef) return podField(pod, fieldRef.fieldPath, facts);
  if (resourceFieldRef) {
    const value = containerResource(pod, container, resourceFieldRef, facts);
    if (value !== undefined) return value;
    throw new Missing(`container ${resourceFieldRef.containerName} not found`);
  }
  if (configMapKeyRef) return keyOf(configData(sources, configMapKeyRef), 'ConfigMap', configMapKeyRef);
  if (secretKeyRef) return keyOf(secretData(sources, secretKeyRef), 'Secret', secretKeyRef);
  if (!fileKeyRef) return '';
  const { volumeName, path, key, optional } = fileKeyRef;
  const place = `file "${path}" of the volume "${volumeName}"`;
  const text = sources.file(volumeName, path);
  if (text === undefined) throw new Missing(`couldn't read the ${place}`);
  const found = variableOfFile(text, key);
  if (found.kind === 'found') return found.value;
  if (found.kind === 'wrong') throw new Missing(`line ${found.line} of the ${place} ${found.why}`);
  if (optional === true) return undefined;
  throw new Missing(`environment variable key "${key}" not found in the ${place}`);
}

/** Command and arguments with the values of variables; undefined where the image's are meant. */
export function commandOf({ command, args }: Container, variables: ReadonlyMap<string, string>) {
  const expanded = (words: readonly string[] | undefined) =>
    words && words.length > 0
      ? words.map(word => expandVariables(word, name => variables.get(name)))
      : undefined;
  return { command: expanded(command), args: expanded(args) };
}
