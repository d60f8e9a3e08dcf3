import type { Mount } from '../../engine/container.ts';
import type { Container, EphemeralContainer, Pod } from '../api/kubernetes.ts';
import type { PodIdentity, QosClass } from '../unit/names.ts';
import type { Tell } from './image.ts';

/** One run of a container: what is known of it before its image is looked at. */
export interface RunRequest {
  readonly pod: Pod;
  readonly identity: PodIdentity;
  readonly qos: QosClass;
  readonly container: Container | EphemeralContainer;
  /** The pod's variables. */
  readonly variables: ReadonlyMap<string, string>;
  /** The pod's words with `$(VAR)` put in. */
  readonly command?: readonly string[];
  readonly args?: readonly string[];
  readonly volumes: readonly Mount[];
  /** Seconds. */
  readonly grace: number;
  /** Takes events of the container. */
  readonly tell: Tell;
}
