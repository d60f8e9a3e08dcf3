import { SpawnletError } from '../host/error.ts';
import type { Digest } from './manifest.ts';

/** A repository in a registry, and what of it is meant. */
export interface RegistryReference {
  readonly transport: 'docker';
  /** Host with port if there is one: `docker.io`, `localhost:5000`, `[::1]:5000`. */
  readonly registry: string;
  /** `library/nginx` */
  readonly repository: string;
  /** At least one of tag and digest is there; the digest decides what is pulled. */
  readonly tag?: string;
  readonly digest?: Digest;
}

export interface LayoutReference {
  readonly transport: 'oci' | 'oci-archive';
  /** As written; may be relative to the working directory. */
  readonly path: string;
  /** `org.opencontainers.image.ref.name` of the image in the layout. */
  readonly tag?: string;
}

export interface DockerArchiveReference {
  readonly transport: 'docker-archive';
  readonly path: string;
  /** Which of the images in the archive. */
  readonly image?: RegistryReference;
}

/** What a user writes to name an image: docker's short and long names, and podman's transports. */
export type Reference = RegistryReference | LayoutReference | DockerArchiveReference;

/** The grammar of github.com/distribution/reference. */
const domainPart = '(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])';
const domain = new RegExp(
  `^(?:${domainPart}(?:\\.${domainPart})*|\\[(?:[a-fA-F0-9:]+)\\])(?::(?<port>[0-9]{1,5}))?$`,
);
const pathComponent = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*$/;
const tagPattern = /^\w[\w.-]{0,127}$/;
const digestPattern = /^sha256:[0-9a-f]{64}$/;
/** A layout's name for an image: components of letters and digits, joined by single separators. */
const refNamePattern = /^[A-Za-z0-9]+(?:(?:--|[-._:@+/])[A-Za-z0-9]+)*$/;
const maxNameLength = 255;

function refuse(text: string, why: string): SpawnletError {
  const shown = JSON.stringify(text.length > 300 ? `${text.slice(0, 300)}…` : text);
  return new SpawnletError('ERR_REFERENCE', `${shown} does not name an image: ${why}`, {
    hint: 'write [HOST[:PORT]/]NAME[:TAG][@sha256:…], oci:DIR[:TAG], oci-archive:FILE[:TAG] or docker-archive:FILE[:NAME:TAG]',
  });
}

/** True for a string that is a sha256 digest in the one form that is accepted. */
export function isDigest(text: string): text is Digest {
  return digestPattern.test(text);
}

/**
 * Parses an image reference as docker and podman do: `nginx` is `docker.io/library/nginx:latest`.
 * Throws `ERR_REFERENCE`.
 */
export function parseReference(text: string): Reference {
  if (text.startsWith('docker://')) return parseRegistryReference(text.slice('docker://'.length), text);
  const transport = /^(oci|oci-archive|docker-archive):(?<rest>.*)$/s.exec(text);
  // `oci:5000/x` could be a registry called oci; it is the transport for podman too.
  if (transport) return parsePathReference(transport[1] as LayoutReference['transport'], text);
  const other = /^(dir|docker-daemon|containers-storage|sif|ostree|tarball|https?):/.exec(text);
  if (other) throw refuse(text, `the transport ${other[1]}: is not supported`);
  return parseRegistryReference(text, text);
}

function parsePathReference(
  transport: LayoutReference['transport'] | 'docker-archive',
  text: string,
): Reference {
  const rest = text.slice(transport.length + 1);
  const colon = rest.indexOf(':');
  const path = colon === -1 ? rest : rest.slice(0, colon);
  const name = colon === -1 ? undefined : rest.slice(colon + 1);
  if (path === '') throw refuse(text, 'the path is missing');
  if (path.includes('\0')) throw refuse(text, 'a path holds no NUL');
  if (name === undefined) return { transport, path };
  if (name === '') throw refuse(text, 'nothing follows the last colon');
  if (transport === 'docker-archive') {
    const image = parseRegistryReference(name, text);
    if (image.digest) throw refuse(text, 'images in a docker archive have tags, not digests');
    return { transport, path, image };
  }
  if (name.length > maxNameLength || !refNamePattern.test(name))
    throw refuse(text, `${JSON.stringify(name)} is not a tag`);
  return { transport, path, tag: name };
}

/** Parses what follows `docker://`. `whole` is what an error quotes. */
export function parseRegistryReference(text: string, whole: string = text): RegistryReference {
  const at = text.indexOf('@');
  const digest = at === -1 ? undefined : text.slice(at + 1);
  const named = at === -1 ? text : text.slice(0, at);
  if (digest !== undefined && !isDigest(digest))
    throw refuse(whole, 'a digest is sha256: and 64 lower-case hex digits');

  // A colon after the last slash sets off the tag; one before it belongs to a port.
  const colon = named.indexOf(':', named.lastIndexOf('/') + 1);
  const tag = colon === -1 ? undefined : named.slice(colon + 1);
  const name = colon === -1 ? named : named.slice(0, colon);
  if (tag !== undefined && !tagPattern.test(tag))
    throw refuse(whole, 'a tag is up to 128 letters, digits, _ . and -, and begins with none of . and -');

  const { registry, repository } = splitName(name, whole);
  if (name === '' || repository === '') throw refuse(whole, 'the name is missing');
  if (/^[0-9a-f]{64}$/.test(name)) throw refuse(whole, '64 hex digits are an ID, not a name');
  const match = domain.exec(registry);
  if (!match || Number(match.groups?.['port'] ?? 0) > 65_535)
    throw refuse(whole, `${JSON.stringify(registry)} is not a host`);
  if (registry.length + repository.length + 1 > maxNameLength)
    throw refuse(whole, `a name has at most ${maxNameLength} characters`);
  for (const component of repository.split('/'))
    if (!pathComponent.test(component))
      throw refuse(
        whole,
        component === component.toLowerCase()
          ? `${JSON.stringify(component)} is not part of a name: lower-case letters and digits, with . _ __ or - between them`
          : 'names are in lower case',
      );
  return {
    transport: 'docker',
    registry,
    repository,
    ...(tag !== undefined && { tag }),
    ...(digest !== undefined && { digest }),
    ...(tag === undefined && digest === undefined && { tag: 'latest' }),
  };
}

function splitName(name: string, whole: string): { registry: string; repository: string } {
  const slash = name.indexOf('/');
  const first = slash === -1 ? '' : name.slice(0, slash);
  // docker's rule for what is a host and what the first part of a name on Docker Hub.
  const isHost = first === 'localhost' || /[.:]/.test(first) || first !== first.toLowerCase();
  if (slash === 0) throw refuse(whole, 'it begins with a slash');
  const registry = isHost ? first.replace(/^(index|registry-1)\.docker\.io$/, 'docker.io') : 'docker.io';
  const rest = isHost ? name.slice(slash + 1) : name;
  const repository =
    registry === 'docker.io' && rest !== '' && !rest.includes('/') ? `library/${rest}` : rest;
  return { registry, repository };
}

/** The one canonical spelling: `parseReference(formatReference(r))` equals `r`. */
export function formatReference(reference: Reference): string {
  switch (reference.transport) {
    case 'docker': {
      const { registry, repository, tag, digest } = reference;
      return `${registry}/${repository}${tag === undefined ? '' : `:${tag}`}${digest === undefined ? '' : `@${digest}`}`;
    }
    case 'docker-archive':
      return `docker-archive:${reference.path}${reference.image ? `:${formatReference(reference.image)}` : ''}`;
    case 'oci':
    case 'oci-archive':
      return `${reference.transport}:${reference.path}${reference.tag === undefined ? '' : `:${reference.tag}`}`;
  }
}

/**
 * What an image without a registry is called in the store, as podman has it: `localhost/NAME:TAG`. `refName` is what
 * the layout or archive calls it; a full reference is kept, a bare tag goes with the file's name.
 */
export function localName(path: string, refName: string | undefined): string {
  const base =
    (path.replace(/\/+$/, '').split('/').at(-1) ?? '')
      .replace(/\.(tar|tar\.gz|tgz)$/, '')
      .toLowerCase()
      .replaceAll(/[^a-z0-9]+/g, '-')
      .replaceAll(/^-|-$/g, '')
      .slice(0, 128) || 'image';
  if (refName === undefined) return `localhost/${base}:latest`;
  try {
    if (!/[/:@]/.test(refName))
      return formatReference(parseRegistryReference(`localhost/${base}:${refName}`));
    const first = refName.slice(0, refName.indexOf('/'));
    const hasHost = refName.includes('/') && (first === 'localhost' || /[.:]/.test(first));
    return formatReference(parseRegistryReference(hasHost ? refName : `localhost/${refName}`));
  } catch {
    return `localhost/${base}:latest`;
  }
}
