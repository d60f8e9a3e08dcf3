import { SpawnletError } from '../../host/error.ts';
import { checkUrl } from '../tree/source.ts';

/** What the engine `host` takes for an image: a package of the distribution, the URL of one, or a program that is there. */
export type PackageImage =
  | { readonly kind: 'package'; readonly name: string; readonly version?: string }
  | { readonly kind: 'url'; readonly url: string; readonly sha256?: string }
  | { readonly kind: 'path'; readonly path: string };

/** What Debian, RPM and pacman take for a name, and none takes for a flag or a list. */
const namePattern = /^[A-Za-z0-9][A-Za-z0-9+._-]{0,127}$/;
/** With an epoch, `1:2.0-3`, and what distributions put behind it. */
const versionPattern = /^[A-Za-z0-9][A-Za-z0-9.+~^:_-]{0,127}$/;

const bad = (text: string, why: string, hint: string) =>
  new SpawnletError('ERR_PACKAGE_IMAGE', `image ${JSON.stringify(text)} ${why}`, { hint });

const forms = 'NAME, NAME:VERSION, https://…/FILE#sha256=…, or /the/path of a program';

/** @throws ERR_PACKAGE_IMAGE */
export function parsePackageImage(text: string): PackageImage {
  if (text.startsWith('/')) {
    if (/[\0-\u001f]/.test(text) || text.split('/').includes('..') || text.endsWith('/'))
      throw bad(text, 'is no plain path of a program', forms);
    return { kind: 'path', path: text };
  }
  if (/^[a-z][a-z0-9+.-]*:\/\//i.test(text)) return parseUrl(text);
  const colon = text.indexOf(':');
  const [name, version] = colon === -1 ? [text] : [text.slice(0, colon), text.slice(colon + 1)];
  if (!namePattern.test(name)) throw bad(text, 'is the name of no package', forms);
  if (version === undefined || version === 'latest') return { kind: 'package', name };
  if (!versionPattern.test(version)) throw bad(text, 'has a version that no package has', forms);
  return { kind: 'package', name, version };
}

function parseUrl(text: string): PackageImage {
  const [address = '', fragment] = text.split('#', 2);
  const sum = fragment === undefined ? undefined : /^sha256=([0-9a-f]{64})$/.exec(fragment)?.[1];
  if (fragment !== undefined && sum === undefined)
    throw bad(text, 'ends in what is no #sha256= of 64 hex digits', 'sha256sum FILE prints them');
  let url: URL;
  try {
    url = checkUrl(address);
  } catch (cause) {
    throw bad(
      text.replace(/\/\/[^/]*@/, '//…@'),
      'cannot be fetched',
      cause instanceof SpawnletError ? `${cause.message}: ${cause.hint}` : forms,
    );
  }
  return { kind: 'url', url: url.href, ...(sum !== undefined && { sha256: sum }) };
}

/** @throws ERR_PACKAGE_CHECKSUM for a URL that does not say which file it is */
export function requireChecksum(image: PackageImage, isAllowed: boolean): void {
  if (image.kind !== 'url' || image.sha256 !== undefined || isAllowed) return;
  throw new SpawnletError('ERR_PACKAGE_CHECKSUM', `image ${image.url} has no checksum`, {
    hint: 'add #sha256=… to it (sha256sum FILE), or start the agent with --allow-unverified-packages',
  });
}
