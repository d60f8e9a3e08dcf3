import type { Host } from '../host/host.ts';
import type { Credential } from './credentials.ts';
import type { Reference } from './reference.ts';
import type { Source } from './source.ts';

export interface SourceOptions {
  readonly host: Pick<Host, 'files' | 'children' | 'clock'>;
  readonly env: NodeJS.ProcessEnv;
  /** Of `--authfile`. */
  readonly authFile?: string | undefined;
  /** Who to be, instead of whom the files of this host say. */
  readonly credential?: Credential | undefined;
  /** Registries (`HOST:PORT`) and networks (`10.0.0.0/8`) without TLS, besides those of the settings. */
  readonly insecure?: readonly string[];
  /** False for `--tls-verify=false`: no registry of this pull needs TLS or a certificate that is known. */
  readonly tlsVerify?: boolean;
  /** A directory for what is decompressed while an archive is read; `/var/tmp` if not given. */
  readonly scratch?: string;
}

/**
 * Opens what a reference names. Archives and layouts are looked into at once, a registry is first asked when the
 * image is. Throws the errors of each kind of source.
 */
export async function openSource(
  reference: Reference,
  options: SourceOptions,
  signal: AbortSignal,
): Promise<Source> {
  switch (reference.transport) {
    case 'docker': {
      const [{ openRegistry }, { findCredential }, { insecureRegistries, insecureRule }] = await Promise.all([
        import('./registry.ts'),
        import('./credentials.ts'),
        import('./insecure.ts'),
      ]);
      const { host, env, authFile } = options;
      const { files, children, clock } = host;
      const rule = insecureRule([...(options.insecure ?? []), ...(await insecureRegistries(files))]);
      return await openRegistry(reference, {
        clock,
        env,
        isInsecure: host => options.tlsVerify === false || rule(host),
        credential: async (registry, repository) =>
          options.credential ??
          findCredential(registry, repository, { files, children, env, authFile }, signal),
      });
    }
    case 'oci': {
      const [{ openLayout }, { directoryMembers }] = await Promise.all([
        import('./oci-layout.ts'),
        import('./members.ts'),
      ]);
      return await openLayout(directoryMembers(reference.path), reference.path, reference.tag, signal);
    }
    case 'oci-archive':
    case 'docker-archive': {
      const { openArchive } = await import('./archive.ts');
      const members = await openArchive(reference.path, options, signal);
      try {
        if (reference.transport === 'docker-archive') {
          const { openDockerArchive } = await import('./docker-archive.ts');
          return await openDockerArchive(members, reference.path, reference.image, signal);
        }
        const { openLayout } = await import('./oci-layout.ts');
        return await openLayout(members, reference.path, reference.tag, signal);
      } catch (error) {
        await members[Symbol.asyncDispose]();
        throw error;
      }
    }
  }
}
