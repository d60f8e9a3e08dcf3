/**
 * OCI image documents, parsed from hostile bytes. Media types, digests and descriptors as in the OCI image
 * specification 1.1 and Docker's image manifest version 2, schema 2.
 */

/** `sha256:` and 64 hex digits; nothing else becomes a value of this type, so it is safe as part of a path. */
export type Digest = `sha256:${string}`;

export interface Platform {
  readonly os: string;
  readonly architecture: string;
  readonly variant?: string;
}

export interface Descriptor {
  readonly mediaType: string;
  readonly digest: Digest;
  /** Bytes. */
  readonly size: number;
  readonly platform?: Platform;
  readonly annotations?: Readonly<Record<string, string>>;
}

/** An image manifest, of OCI or of Docker. */
export interface Manifest {
  readonly mediaType: string;
  readonly config: Descriptor;
  /** Lowest first. */
  readonly layers: readonly Descriptor[];
}

/** A list of manifests, or of further lists, by platform. */
export interface Index {
  readonly mediaType: string;
  readonly manifests: readonly Descriptor[];
}

/** What of an image's config spawnlet acts on; every string in it is the image's, none is trusted. */
export interface ImageConfig {
  readonly platform: Platform;
  /** Digests of the uncompressed layers, lowest first. */
  readonly diffIds: readonly Digest[];
  readonly created?: string;
  readonly entrypoint: readonly string[];
  readonly cmd: readonly string[];
  /** `NAME=value`. */
  readonly env: readonly string[];
  /** As written: `name`, `uid`, `name:group`, `uid:gid`, or empty. */
  readonly user: string;
  /** Absolute; `/` if the image has none. */
  readonly workingDir: string;
  readonly stopSignal?: string;
  /** Absolute paths. */
  readonly volumes: readonly string[];
  readonly labels: Readonly<Record<string, string>>;
  readonly exposedPorts: readonly string[];
  readonly healthcheck?: ImageHealthcheck;
}

/** Docker's HEALTHCHECK; times are milliseconds, and 0 stands for the default. */
export interface ImageHealthcheck {
  /** `NONE`, `CMD` and words, or `CMD-SHELL` and a text. */
  readonly test: readonly string[];
  readonly interval: number;
  readonly timeout: number;
  readonly startPeriod: number;
  readonly retries: number;
}
