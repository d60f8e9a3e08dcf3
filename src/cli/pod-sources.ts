import { readFile, stat } from 'node:fs/promises';
import { SpawnletError } from '../host/error.ts';
import { type ManifestFile, readManifests } from '../kubelet/manifests.ts';
import type { Context } from './context.ts';

/** The flag of commands that take manifests. */
export const filenameOption = {
  filename: {
    type: 'strings',
    short: 'f',
    value: 'FILE',
    help: 'a file, a directory, or - for standard input',
  },
} as const;

/** A file, all manifests of a directory, or standard input. @throws ERR_FLAG_VALUE */
async function sourceOf(name: string, { host }: Context): Promise<ManifestFile[]> {
  if (name === '-') return [{ path: '-', text: await text(process.stdin) }];
  try {
    if ((await stat(name)).isDirectory()) return await readManifests(host.files, name);
    return [{ path: name, text: await readFile(name, 'utf8') }];
  } catch (cause) {
    throw new SpawnletError('ERR_FLAG_VALUE', `-f ${name} cannot be read`, {
      cause,
      hint: 'a file, a directory, or - for standard input',
    });
  }
}

/** What all of them hold. @throws ERR_FLAG_VALUE */
export const sourcesOf = async (names: readonly string[], context: Context): Promise<ManifestFile[]> =>
  (await Promise.all(names.map(name => sourceOf(name, context)))).flat();

async function text(stream: AsyncIterable<Buffer>): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}
