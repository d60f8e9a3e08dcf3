/** Pods with volumes for tests, and what volumes depend on beside the pod. */
import type {
  ConfigMap,
  Container,
  Pod,
  PodSpec,
  Secret,
  Volume,
  VolumeMount,
} from '../../src/pod/api/kubernetes.ts';
import type { VolumeObjects } from '../../src/pod/volumes/content/payload.ts';
import type { MountFacts } from '../../src/pod/volumes/mounts.ts';

export const uid = '0a1b2c3d-1111-2222-3333-444455556666';

export const container = (name: string, ...volumeMounts: VolumeMount[]): Container => ({
  name,
  image: 'localhost/test:1',
  volumeMounts,
});

/** A pod of one container that mounts each volume at a path of its name. */
export function podOf(volumes: readonly Volume[], spec: Partial<PodSpec> = {}): Pod {
  const mounts = volumes.map(({ name }): VolumeMount => ({ name, mountPath: `/${name}` }));
  return {
    metadata: { name: 'web', namespace: 'shop', uid, labels: { app: 'web' } },
    spec: { containers: [container('main', ...mounts)], volumes, ...spec },
  };
}

export const plainFacts: MountFacts = {
  pod: { nodeName: 'node', hostIPs: [], podIPs: [], allocatable: { memory: '1Gi' } },
  target: 'web.target',
  claims: new Map(),
  images: new Map(),
  issuesTokens: false,
  noswap: false,
  variables: new Map(),
  recursiveReadOnly: true,
};

export const factsWith = (facts: Partial<MountFacts>): MountFacts => ({ ...plainFacts, ...facts });

/** As an API server would give them; what is put into the maps is there from then on. */
export class TestObjects implements VolumeObjects {
  readonly configMaps = new Map<string, ConfigMap>();
  readonly secrets = new Map<string, Secret>();

  async configMap(namespace: string, name: string): Promise<ConfigMap | undefined> {
    return this.configMaps.get(`${namespace}/${name}`);
  }

  async secret(namespace: string, name: string): Promise<Secret | undefined> {
    return this.secrets.get(`${namespace}/${name}`);
  }

  async token(pod: { readonly name: string }, { audience }: { readonly audience: string }): Promise<string> {
    return `token of ${pod.name} for ${audience}`;
  }

  /** Texts of a configMap of the namespace `shop`. */
  config(name: string, data: { readonly [key: string]: string }): this {
    this.configMaps.set(`shop/${name}`, { data });
    return this;
  }

  hide(name: string, data: { readonly [key: string]: string }): this {
    const encoded = Object.entries(data).map(([key, text]) => [key, Buffer.from(text).toString('base64')]);
    this.secrets.set(`shop/${name}`, { data: Object.fromEntries(encoded) });
    return this;
  }
}
