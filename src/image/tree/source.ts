import { basename, resolve } from 'node:path';
import { SpawnletError } from '../../host/error.ts';
import { isLoopback } from '../http.ts';

/** Where the tree of a machine or a base comes from; `--from`. */
export type TreeSource =
  /** Cloned from a base: a mount, or a snapshot where the file system has them. */
  | { readonly kind: 'base'; readonly name: string }
  /** Cloned from a machine that is stopped or frozen. */
  | { readonly kind: 'machine'; readonly name: string }
  /** A plain tree, booted where it lies; never removed. */
  | { readonly kind: 'directory'; readonly path: string }
  /** Made by a builder into a base of its own, then cloned. */
  | { readonly kind: 'debian' | 'ubuntu'; readonly suite: string }
  | { readonly kind: 'arch' }
  | { readonly kind: 'fedora'; readonly release: string }
  | {
      readonly kind: 'tar';
      /** A path, or an https URL. */
      readonly location: string;
      /** 64 hex digits; undefined for a file, or for a URL that was allowed by `--insecure`. */
      readonly sha256?: string;
    }
  | { readonly kind: 'oci'; readonly image: string };

/** How a tree is built, for sources that are built. */
export interface TreeBuild {
  readonly packages: readonly string[];
  /** Of a Debian archive: `main`, `universe`; of Arch: `core`, `extra`. */
  readonly components: readonly string[];
  readonly mirror?: string;
  /** A path of the host. */
  readonly keyring?: string;
  /** A URL without checksum or signature is taken, and packages that nobody signed. */
  readonly insecure: boolean;
}

const forms =
  'debian:SUITE, ubuntu:SUITE, arch, fedora:N, tar:FILE|URL, oci:IMAGE, dir:PATH, machine:NAME, base:NAME';

const bad = (text: string, why: string, hint = `one of ${forms}`) =>
  new SpawnletError('ERR_TREE_SOURCE', `${JSON.stringify(text)} is no source of a tree: ${why}`, { hint });

const checksum = /#sha256=([^#]*)$/;

/**
 * What `--from` says. A word without a colon is a base, but for `arch`. Relative paths begin at `directory`. Throws
 * `ERR_TREE_SOURCE`.
 */
export function parseTreeSource(text: string, directory = process.cwd()): TreeSource {
  const colon = text.indexOf(':');
  const kind = colon < 0 ? text : text.slice(0, colon);
  const rest = colon < 0 ? '' : text.slice(colon + 1);
  const part = (pattern: RegExp, what: string, example: string) => {
    if (pattern.test(rest)) return rest;
    throw bad(
      text,
      rest === '' ? `${kind} needs ${what}` : `${JSON.stringify(rest)} is not ${what}`,
      example,
    );
  };
  if (kind === 'arch' && colon < 0) return { kind: 'arch' };
  switch (kind) {
    case 'debian':
      return { kind, suite: part(/^[a-z][a-z0-9.-]{0,40}$/, 'a suite', '--from debian:bookworm') };
    case 'ubuntu':
      return { kind, suite: part(/^[a-z][a-z0-9.-]{0,40}$/, 'a suite', '--from ubuntu:noble') };
    case 'fedora':
      return { kind, release: part(/^(\d{1,3}|rawhide)$/, 'a release', '--from fedora:42') };
    case 'oci':
      return {
        kind,
        image: absolute(part(/^[^\s\p{Cc}]{1,1000}$/u, 'an image', '--from oci:debian:12'), directory),
      };
    case 'dir':
      return {
        kind: 'directory',
        path: resolve(directory, part(pathPattern, 'a path', '--from dir:/srv/tree')),
      };
    case 'machine':
      return { kind, name: part(namePattern, 'the name of a machine', '--from machine:web') };
    case 'base':
      return { kind, name: parseBaseName(rest) };
    case 'tar':
      return tarball(text, part(pathPattern, 'a file or a URL', '--from tar:rootfs.tar.xz'), directory);
    default:
      if (colon < 0 && namePattern.test(kind)) return { kind: 'base', name: parseBaseName(kind) };
      throw bad(text, `there is no kind ${JSON.stringify(kind)}`);
  }
}

/** Layouts and archives are paths; the others are names. */
function absolute(image: string, directory: string): string {
  const [, transport, path] = /^(oci|oci-archive|docker-archive):(.+)$/.exec(image) ?? [];
  return transport === undefined || path === undefined ? image : `${transport}:${resolve(directory, path)}`;
}

const pathPattern = /^[^\p{Cc}]{1,4000}$/u;
const namePattern = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$/;

/** Suffixes of directories beside a base's own: what is built, and what is removed. */
export const building = '.building';
export const withdrawn = '.old';

/** A name that can be part of a path, of overlayfs' options and of a unit's name. */
export function parseBaseName(name: string): string {
  if (namePattern.test(name) && !name.endsWith(building) && !name.endsWith(withdrawn)) return name;
  throw new SpawnletError('ERR_BASE_NAME', `${JSON.stringify(name)} cannot be the name of a base`, {
    hint: 'up to 64 letters, digits, dots, dashes and underscores, the first a letter or digit',
  });
}

function tarball(text: string, rest: string, directory: string): TreeSource {
  const sum = checksum.exec(rest)?.[1];
  const location = rest.replace(checksum, '');
  if (sum !== undefined && !/^[0-9a-f]{64}$/.test(sum))
    throw bad(text, 'its sha256 is not 64 hex digits', 'sha256sum FILE prints them');
  const sha256 = sum === undefined ? {} : { sha256: sum };
  if (!/^[a-z][a-z0-9+.-]*:\/\//i.test(location))
    return { kind: 'tar', location: resolve(directory, location), ...sha256 };
  return { kind: 'tar', location: checkUrl(location).href, ...sha256 };
}

/** A URL that a file can be fetched from: https, or http on this machine itself; no credentials in it. */
export function checkUrl(text: string): URL {
  const url = URL.parse(text);
  if (!url) throw bad(text, 'it is no URL');
  if (url.username !== '' || url.password !== '')
    throw bad(text.replace(/\/\/[^/]*@/, '//…@'), 'it holds credentials', 'fetch the file, and name that');
  if (url.protocol === 'https:' || (url.protocol === 'http:' && isLoopback(url.host))) return url;
  throw bad(text, `${url.protocol}// is not taken`, 'https; or fetch the file, and name that');
}

export const isUrl = (location: string): boolean => !location.startsWith('/');

/** The text that {@link parseTreeSource} reads. */
export function formatTreeSource(source: TreeSource): string {
  switch (source.kind) {
    case 'debian':
    case 'ubuntu':
      return `${source.kind}:${source.suite}`;
    case 'fedora':
      return `fedora:${source.release}`;
    case 'arch':
      return 'arch';
    case 'oci':
      return `oci:${source.image}`;
    case 'directory':
      return `dir:${source.path}`;
    case 'tar':
      return `tar:${source.location}${source.sha256 === undefined ? '' : `#sha256=${source.sha256}`}`;
    case 'machine':
    case 'base':
      return `${source.kind}:${source.name}`;
  }
}

/** A few words for lists: no checksum, and no query of a URL, which may be a secret. */
export function shownSource(source: TreeSource): string {
  if (source.kind !== 'tar') return formatTreeSource(source);
  return `tar:${isUrl(source.location) ? source.location.replace(/[?#].*$/, '') : source.location}`;
}

/** What a base that nobody named is called after: `debian-bookworm`, `rootfs`. */
export function labelOf(source: TreeSource): string {
  const text =
    source.kind === 'tar' || source.kind === 'directory'
      ? basename(source.kind === 'tar' ? source.location : source.path).replace(/\.(tar|t[gx]z)\b.*$/, '')
      : source.kind === 'oci'
        ? basename(source.image).replace(/@.*$/, '')
        : formatTreeSource(source);
  const label = text.replaceAll(/[^A-Za-z0-9]+/g, '-').replaceAll(/^-+|-+$/g, '');
  return label.slice(0, 40).toLowerCase() || source.kind;
}
