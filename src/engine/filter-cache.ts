import type { Files } from '../host/files.ts';
import { runtimeDirectory } from '../names.ts';
import { containerIdOf } from './crun.ts';
import { runDirectoryOf } from './script.ts';
import type { Seccomp } from './seccomp.ts';

/**
 * Compiled seccomp filters of this boot. To compile Docker's takes crun 20 ms of each start; crun leaves the program of a
 * container in its state directory, and takes one by annotation. The next container with the same profile, to the
 * letter, is given it.
 */
const directory = `${runtimeDirectory}/seccomp`;

/** The annotation by which crun takes a compiled filter, in base64; crun.1, "seccomp". */
export const filterAnnotation = 'run.oci.seccomp_bpf_data';

interface Entry {
  readonly profile: string;
  readonly program: string;
}

/** A name for a profile; another profile of the same name is told apart by its text. */
function pathOf(profile: string): string {
  let hash = 0;
  for (let at = 0; at < profile.length; at++) hash = (Math.imul(hash, 31) + profile.charCodeAt(at)) >>> 0;
  return `${directory}/${hash.toString(16).padStart(8, '0')}.json`;
}

async function find(files: Files, profile: string): Promise<string | undefined> {
  const text = await files.read(pathOf(profile));
  if (text === undefined) return undefined;
  const entry = JSON.parse(text) as Entry;
  return entry.profile === profile ? entry.program : undefined;
}

/** The compiled form of a profile, in base64, if a container of this boot has left it. */
export async function compiledFilter(
  files: Files,
  seccomp: Seccomp | 'unconfined',
): Promise<string | undefined> {
  return seccomp === 'unconfined' ? undefined : find(files, JSON.stringify(seccomp));
}

/** The same where no container leaves it: compiled here, once in a boot. @throws ERR_SECCOMP_PROFILE */
export async function compiledHere(files: Files, seccomp: Seccomp): Promise<string> {
  const profile = JSON.stringify(seccomp);
  const known = await find(files, profile);
  if (known !== undefined) return known;
  const { compileFilter } = await import('./compile-filter.ts');
  await files.makeDirectory(directory, 0o700);
  const program = (await compileFilter(seccomp, directory)).toString('base64');
  await keepProgram(files, profile, program);
  return program;
}

/** Keeps the filter of a container that crun has just made. */
export async function keepFilter(files: Files, name: string, seccomp: Seccomp | 'unconfined'): Promise<void> {
  if (seccomp === 'unconfined') return;
  const profile = JSON.stringify(seccomp);
  const { readFile } = await import('node:fs/promises');
  const id = await containerIdOf(files, name);
  const made = await readFile(`${runDirectoryOf(name)}/crun/${id}/seccomp.bpf`).catch(() => undefined);
  if (made === undefined || made.length === 0 || made.length % 8 !== 0) return;
  await keepProgram(files, profile, made.toString('base64'));
}

/** Keeps the compiled form of a profile. */
async function keepProgram(files: Files, profile: string, program: string): Promise<void> {
  const entry: Entry = { profile, program };
  await files.makeDirectory(directory, 0o700);
  await files.sweep(directory);
  await files.write(pathOf(profile), JSON.stringify(entry), 0o600);
}
