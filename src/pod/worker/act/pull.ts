import type { ImageAccess } from '../../../app/image.ts';
import type { Container } from '../../api/kubernetes.ts';
import { goDuration } from '../../status/time.ts';
import type { Work } from './work.ts';

interface TellingPulls extends Pick<ImageAccess, 'apply'> {
  /** The image is there: told if nothing had to be fetched. */
  found(): void;
}

/** Fetches images as the worker does, with events of the container that they are for. */
export function tellingPulls({ deps, record }: Work, { name, image }: Container): TellingPulls {
  const { clock } = deps.host;
  let isFetched = false;
  return {
    async apply(step, signal) {
      record.event('Normal', 'Pulling', `Pulling image ${JSON.stringify(image)}`, name);
      const begin = clock.now();
      await deps.apply(step, signal);
      isFetched = true;
      const time = goDuration(clock.now() - begin);
      const message = `Successfully pulled image ${JSON.stringify(image)} in ${time} (${time} including waiting).`;
      record.event('Normal', 'Pulled', message, name);
    },
    found() {
      if (isFetched) return;
      const there = 'already present on machine and can be accessed by the pod';
      record.event('Normal', 'Pulled', `Container image ${JSON.stringify(image)} ${there}`, name);
    },
  };
}
