/** Each kind of volume with all of its fields, as a test of fields has them. */

const items = (key: string, path: string, mode: number) => [{ key, path, mode }];
/** Volumes of a pod: of the ConfigMap settings, the Secret login and the claim kept; the objects absent are not there. */
export const volumes = [
  { name: 'config', configMap: { name: 'settings', defaultMode: 0o440 } },
  { name: 'part', configMap: { name: 'settings', items: items('a', 'deep/one', 0o400) } },
  { name: 'none', configMap: { name: 'absent', optional: true } },
  {
    name: 'secret',
    secret: { secretName: 'login', defaultMode: 0o404, items: [{ key: 'key', path: 'k' }] },
  },
  { name: 'no-secret', secret: { secretName: 'absent', optional: true } },
  {
    name: 'down',
    downwardAPI: {
      defaultMode: 0o444,
      items: [
        { path: 'labels', fieldRef: { fieldPath: 'metadata.labels' }, mode: 0o600 },
        { path: 'cpu', resourceFieldRef: { containerName: 'main', resource: 'limits.cpu', divisor: '1m' } },
      ],
    },
  },
  {
    name: 'all',
    projected: {
      defaultMode: 0o640,
      sources: [
        { configMap: { name: 'settings', items: items('b', 'from/config', 0o604) } },
        { configMap: { name: 'absent', optional: true } },
        { secret: { name: 'login', items: [{ key: 'word', path: 'from/secret' }] } },
        { secret: { name: 'absent', optional: true } },
        { downwardAPI: { items: [{ path: 'from/name', fieldRef: { fieldPath: 'metadata.name' } }] } },
      ],
    },
  },
  {
    name: 'own',
    ephemeral: {
      volumeClaimTemplate: {
        spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Mi' } } },
      },
    },
  },
  { name: 'claim', persistentVolumeClaim: { claimName: 'kept', readOnly: false } },
  { name: 'sealed', persistentVolumeClaim: { claimName: 'kept', readOnly: true } },
  { name: 'host', hostPath: { path: '/srv/host/file', type: 'File' } },
  { name: 'made', hostPath: { path: '/srv/host/made', type: 'DirectoryOrCreate' } },
  { name: 'fast', emptyDir: { medium: 'Memory', sizeLimit: '2Mi' } },
];
/** Each at its name, and two parts of a claim. */
export const mounts = [
  ...volumes.map(({ name }) => ({ name, mountPath: `/${name}` })),
  { name: 'claim', mountPath: '/sub', subPathExpr: 'of-$(POD_NAME)' },
  { name: 'claim', mountPath: '/locked', subPath: 'locked', readOnly: true },
];
