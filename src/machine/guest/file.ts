import type { Ownership } from './root.ts';

/** One entry of a machine's tree as it shall be. `path` is absolute, as the machine sees it. */
export type GuestFile = { readonly path: string } & (
  | (Partial<Ownership> & {
      readonly content: string;
      /** `latin1`: each character is one byte, as in texts that were read from the tree; else it is UTF-8. */
      readonly encoding?: 'latin1';
      /** What `--dry-run` prints instead: the same with its secrets redacted. */
      readonly shown?: string;
    })
  | { readonly link: string; readonly encoding?: 'latin1' }
  /** A directory that is there gets the mode and the owner. */
  | (Partial<Ownership> & { readonly directory: true })
  /** A file or directory of the host. Into a directory that is there it comes under its own name, as docker cp has it. */
  | { readonly copy: string }
  /** One file of the host, exactly there; its bytes are in no plan. */
  | (Partial<Ownership> & { readonly copyFile: string })
  /** A file, a link, or a directory with all that is in it. */
  | { readonly remove: true }
);

/** What a file has that does not say. */
export const ownershipOf = (file: Partial<Ownership>, mode: number): Ownership => ({
  mode: file.mode ?? mode,
  uid: file.uid ?? 0,
  gid: file.gid ?? 0,
});

/** The bytes of a content or of a link's target, one in each character: what `GuestRoot` takes. */
export const bytesOf = (text: string, encoding: 'latin1' | undefined): string =>
  encoding === 'latin1' ? text : Buffer.from(text).toString('latin1');
