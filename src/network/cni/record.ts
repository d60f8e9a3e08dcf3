import { join } from 'node:path';
import type { Files } from '../../host/files.ts';
import type { Json } from '../../host/step.ts';
import type { Attachment } from './attachment.ts';
import type { NetworkList } from './list.ts';
import { type AddResult, parseResult } from './result.ts';
import { resultFile } from './script.ts';

/**
 * A container's place in a network, in a directory of its own: written before a plugin is asked for anything, removed after
 * all have let go. What undoes it is thus known whatever becomes of the network's configuration meanwhile.
 */
export interface Record {
  /** The network as it was when the container was added. */
  readonly network: NetworkList;
  readonly attachment: Attachment;
  /** Of the boot in which it was; the network namespace of another one is gone. */
  readonly boot: string;
}

interface AttachmentFile extends Attachment {
  readonly version: 1;
  readonly boot: string;
}

const networkFile = 'network.conflist';
/** Written last: with it the record is there. */
const attachmentFile = 'attachment.json';

/** Undefined if there is none, or one whose writing was cut off: then no plugin was asked for anything. */
export async function readRecord(files: Files, directory: string): Promise<Record | undefined> {
  const [network, text] = await Promise.all(
    [networkFile, attachmentFile].map(name => files.read(join(directory, name))),
  );
  if (network === undefined || text === undefined) return undefined;
  const { version: _version, boot, ...attachment } = JSON.parse(text) as AttachmentFile;
  return { network: JSON.parse(network) as NetworkList, attachment, boot };
}

export async function writeRecord(files: Files, directory: string, record: Record): Promise<void> {
  const { network, attachment, boot } = record;
  const pretty = (value: Json | object) => `${JSON.stringify(value, undefined, 2)}\n`;
  await files.makeDirectory(directory, 0o700);
  await files.write(join(directory, networkFile), pretty(network), 0o600);
  const file: AttachmentFile = { version: 1, boot, ...attachment };
  await files.write(join(directory, attachmentFile), pretty(file), 0o600);
}

/** What the network gave; undefined while it has not. */
export async function readResult(files: Files, directory: string): Promise<AddResult | undefined> {
  const text = await files.read(join(directory, resultFile));
  return text === undefined ? undefined : parseResult(text);
}

/**
 * Of these records, those of containers that are no more, as steps that let go of what they hold. Addresses outlive a boot
 * on most networks, and a container that was not there to be taken away keeps its own until this is done.
 *
 * @param directories one for each record
 * @param live IDs of the containers that are
 */
export async function staleRecords(
  files: Files,
  directories: readonly string[],
  live: ReadonlySet<string>,
): Promise<{ readonly do: 'cni-del'; readonly path: string }[]> {
  const found = await Promise.all(
    directories.map(async path => ({ path, record: await readRecord(files, path) })),
  );
  return found.flatMap(({ path, record }) =>
    record && live.has(record.attachment.container) ? [] : [{ do: 'cni-del' as const, path }],
  );
}
