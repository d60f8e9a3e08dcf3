import { messageOf, SpawnletError } from '../../host/error.ts';
import type { StartFailure, StartFailureReason } from '../status/observed.ts';

/** What the status calls errors of spawnlet's own codes. */
const reasons: Readonly<Record<string, StartFailureReason>> = {
  ERR_REFERENCE: 'InvalidImageName',
  ERR_RUN_AS_NON_ROOT: 'CreateContainerConfigError',
  ERR_CONTAINER_CONFIG: 'CreateContainerConfigError',
  ERR_CAPABILITY: 'CreateContainerConfigError',
  ERR_SECCOMP_PROFILE: 'CreateContainerConfigError',
  ERR_IMAGE_NEVER_PULL: 'ErrImageNeverPull',
  ERR_IMAGE_PULL: 'ErrImagePull',
  ERR_NO_COMMAND: 'CreateContainerError',
  ERR_IMAGE_USER: 'CreateContainerError',
  ERR_IMAGE_PATH: 'CreateContainerError',
  ERR_WORKDIR: 'CreateContainerError',
  ERR_UNIT_VALUE: 'CreateContainerConfigError',
  ERR_USER: 'CreateContainerConfigError',
  ERR_PACKAGE_IMAGE: 'InvalidImageName',
  ERR_HOST_PROGRAM: 'RunContainerError',
  ERR_UNIT_FAILED: 'RunContainerError',
  ERR_UNIT_INVALID: 'RunContainerError',
};

const ofImages = /^ERR_(?:IMAGE|REGISTRY|MANIFEST|PACKAGE|PULL|TREE_FETCH|LAYER|DIGEST|AUTH|PLATFORM|BLOB)/;

/** Why a container could not be started, as Kubernetes calls it. */
export function startFailureOf(error: unknown, at: number): StartFailure {
  const code = error instanceof SpawnletError ? error.code : '';
  const hint = error instanceof SpawnletError && error.hint ? `: ${error.hint}` : '';
  const reason =
    reasons[code] ?? (ofImages.test(code) ? ('ErrImagePull' as const) : ('CreateContainerError' as const));
  return { reason, message: `${messageOf(error)}${hint}`, at };
}
