import { parseReference } from '../../../image/reference.ts';

/** The policy that the tag of an image asks for: what may change under its name is looked at again. */
export function pullPolicyOf(image: string): 'Always' | 'IfNotPresent' {
  try {
    const reference = parseReference(image);
    return reference.transport === 'docker' && reference.tag === 'latest' ? 'Always' : 'IfNotPresent';
  } catch {
    // A path or an address of a package; or no image at all, which is told when it is pulled.
    return 'IfNotPresent';
  }
}
