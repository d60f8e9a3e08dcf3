import type { ProcessSpec } from '../engine/exec.ts';
import { SpawnletError } from '../host/error.ts';

/** `config.json` of a container, as it is read back. */
export interface Bundle {
  readonly process: ProcessSpec;
  readonly annotations: Readonly<Record<string, string>>;
  readonly [key: string]: unknown;
}

/** Undefined for a text that is none, such as one that a power cut has left without its end. */
export function parseBundle(text: string): Bundle | undefined {
  try {
    const bundle = JSON.parse(text) as Bundle;
    return typeof bundle.annotations === 'object' && typeof bundle.process === 'object' ? bundle : undefined;
  } catch {
    return undefined;
  }
}

/** What stands in an app for what a damaged bundle does not tell. */
export const unknown = {
  request: {
    image: '',
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
    network: 'none',
    restart: { kind: 'no' },
    stopTimeout: 10,
    labels: {},
    terminal: false,
    stdin: false,
    pull: 'never',
    engine: 'crun',
    register: false,
    tlsVerify: true,
  },
  image: '',
  imageDigest: '',
  layers: [],
  created: '',
  bundle: {
    process: { args: [], env: [], cwd: '/', terminal: false, user: { uid: 0, gid: 0 } },
    annotations: {},
  },
  state: { kind: 'damaged' },
  waiting: undefined,
  health: undefined,
} as const;

export const damaged = (name: string) =>
  new SpawnletError('ERR_DAMAGED', `the files of ${name} cannot be read`, {
    hint: `spawnlet rm -f ${name}, and run it again`,
  });
