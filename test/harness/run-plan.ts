import { healthOf } from '../../src/app/health.ts';
import type { RunPlan } from '../../src/app/plan.ts';
import type { RunRequest } from '../../src/app/request.ts';
import { containerOf, type ImageFacts, volumesOf } from '../../src/app/spec.ts';
import type { ImageConfig } from '../../src/image/manifest.ts';

const config: ImageConfig = {
  platform: { os: 'linux', architecture: 'amd64' },
  diffIds: [],
  entrypoint: [],
  cmd: ['true'],
  env: [],
  user: '',
  workingDir: '/',
  volumes: [],
  labels: {},
  exposedPorts: [],
};

const request: RunRequest = {
  name: 'web',
  image: 'docker.io/library/web:1',
  command: [],
  env: [],
  volumes: [],
  tmpfs: [],
  readOnly: false,
  capAdd: [],
  capDrop: [],
  privileged: false,
  devices: [],
  noNewPrivileges: false,
  network: 'host',
  restart: { kind: 'no' },
  stopTimeout: 10,
  labels: {},
  terminal: false,
  stdin: false,
  removeAfterwards: false,
  pull: 'missing',
  engine: 'crun',
  register: false,
  tlsVerify: true,
};

/** What is neither asked for nor in the image's config. */
type Around = Partial<Pick<RunPlan, 'gate' | 'attached' | 'enable'> & Pick<ImageFacts, 'missingWorkdir'>>;

/** The run of an image as container `web`: what is `asked`, an image with `its` config, on a host that has nothing. */
export function runPlan(
  asked: Partial<RunRequest> = {},
  its: Partial<ImageConfig> = {},
  { missingWorkdir, ...around }: Around = {},
): RunPlan {
  const wanted = { ...request, ...asked };
  const whole = { ...config, ...its };
  const image: ImageFacts = {
    name: wanted.image,
    digest: `sha256:${'0'.repeat(64)}`,
    config: whole,
    layers: ['0123456789ab'],
    layerKeys: ['key'],
    rootMode: 0o755,
    user: { uid: 0, gid: 0, additionalGids: [], home: '/' },
    volumes: volumesOf(wanted, whole).map(target => ({ target, content: target.slice(1) })),
    missingWorkdir,
  };
  const network = wanted.network === 'none' ? 'none' : 'host';
  const host = { boundingSet: 'ffffffffffffffff', cgroups: 2, devices: [], profile: 'unconfined' } as const;
  return {
    request: wanted,
    spec: containerOf(wanted, image, host, network),
    image,
    network: { kind: network },
    now: 0,
    gate: false,
    self: { pid: 1, start: '1', boot: 'a boot', command: 'a test' },
    attached: false,
    enable: false,
    health: healthOf(wanted, whole),
    spawnlet: ['/usr/bin/spawnlet'],
    ...around,
  };
}
