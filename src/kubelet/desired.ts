import { sha256 } from '../host/digest.ts';
import type { Pod } from '../pod/api/kubernetes.ts';
import { readObject } from '../pod/spec/check/read.ts';
import { defaultPod } from '../pod/spec/defaults.ts';
import { parseManifest } from '../pod/spec/manifest.ts';
import type { DesiredPod } from './agent.ts';
import type { ManifestFile } from './manifests.ts';

export async function desiredPods(files: readonly ManifestFile[]): Promise<DesiredPod[]> {
  const pods: DesiredPod[] = [];
  for (const { path, text } of files)
    for (const document of await parseManifest(text, path)) {
      const pod = defaultPod(readObject<Pod>('Pod', document.root, [], []));
      const name = pod.metadata?.name ?? '';
      const namespace = pod.metadata?.namespace ?? 'default';
      const hex = sha256(JSON.stringify([path, pod])).toString('hex');
      const uid = `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20, 32)}`;
      pods.push({
        identity: { name, namespace, uid },
        pod: { ...pod, metadata: { ...pod.metadata, name, namespace, uid } },
      });
    }
  return pods;
}
