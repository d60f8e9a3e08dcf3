import type {
  DownwardAPIVolumeFile,
  EnvVarSource,
  PersistentVolumeClaimSpec,
  ProjectedVolumeSource,
  Volume,
} from '../../api/kubernetes.ts';
import { pullPolicyOf } from './pull-policy.ts';
import { withField } from './with-field.ts';

/** The mode of files of configMap, secret, downwardAPI and projected volumes. */
const fileMode = 0o644;
const tokenSeconds = 3600;

/** A volume with what the API server decides for it: one of no kind is an empty directory. */
export function defaultVolume(volume: Volume): Volume {
  if (Object.keys(volume).every(key => key === 'name')) return { ...volume, emptyDir: {} };
  const moded = (['configMap', 'secret'] as const).reduce(
    (each, name) =>
      withField(each, name, source => ({ ...source, defaultMode: source.defaultMode ?? fileMode })),
    volume,
  );
  const told = withField(moded, 'downwardAPI', source => ({
    ...source,
    defaultMode: source.defaultMode ?? fileMode,
    ...(source.items && { items: source.items.map(defaultReferences) }),
  }));
  const projected = withField(told, 'projected', defaultProjected);
  const imaged = withField(projected, 'image', image => ({
    ...image,
    pullPolicy: image.pullPolicy ?? pullPolicyOf(image.reference ?? ''),
  }));
  const hosted = withField(imaged, 'hostPath', path => ({ ...path, type: path.type ?? '' }));
  return withField(hosted, 'ephemeral', ephemeral =>
    withField(ephemeral, 'volumeClaimTemplate', template => ({
      ...template,
      spec: defaultClaim(template.spec),
    })),
  );
}

/** A claim is one of files unless it says otherwise. */
export const defaultClaim = (spec: PersistentVolumeClaimSpec): PersistentVolumeClaimSpec => ({
  ...spec,
  volumeMode: spec.volumeMode ?? 'Filesystem',
});

/** References to fields of the pod, in a variable or in a file. */
export const defaultReferences = <T extends EnvVarSource | DownwardAPIVolumeFile>(from: T): T =>
  withField(
    withField(from, 'fieldRef', field => ({ ...field, apiVersion: field.apiVersion ?? 'v1' })),
    'resourceFieldRef',
    field => ({ ...field, divisor: field.divisor ?? '0' }),
  );

function defaultProjected(volume: ProjectedVolumeSource): ProjectedVolumeSource {
  const sources = volume.sources?.map(source => {
    const told = withField(source, 'downwardAPI', each =>
      withField(each, 'items', items => items.map(defaultReferences)),
    );
    return withField(told, 'serviceAccountToken', token => ({
      ...token,
      expirationSeconds: token.expirationSeconds ?? tokenSeconds,
    }));
  });
  return { ...volume, ...(sources && { sources }), defaultMode: volume.defaultMode ?? fileMode };
}
