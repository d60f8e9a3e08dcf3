import type { Json } from '../host/step.ts';
import { machineDocument } from './document.ts';

/** The JSON schema of `kind: Machine`, for editors: of the table that the parser goes by. */
export function machineSchema(): Json {
  return {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    $id: 'https://spawnlet.io/schema/machine-v1alpha1.json',
    title: 'spawnlet Machine',
    ...machineDocument.schema,
  };
}
