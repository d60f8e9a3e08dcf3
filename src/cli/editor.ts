import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ended } from '../host/child.ts';
import { SpawnletError } from '../host/error.ts';
import { hasProgram } from '../host/program.ts';
import type { Context } from './context.ts';

/** A text after its editor has ended; the file goes, unless it is kept. */
export interface Edited extends AsyncDisposable {
  readonly text: string;
  readonly path: string;
  /** Leaves the file, and says what can be done with it. */
  keep(hint: string): void;
}

/** What systemctl(1) looks for without a variable that names one. */
const editors = ['editor', 'nano', 'vim', 'vi'];

async function installedEditor({ host }: Context): Promise<string> {
  for (const name of editors) if (await hasProgram(host.files, name)) return name;
  throw new SpawnletError('ERR_EDITOR', 'no editor is installed', {
    hint: 'apt-get install nano, or name one with EDITOR=',
  });
}

/** Opens VISUAL, EDITOR or the first editor that is installed. Throws `ERR_EDITOR`. */
export async function editText(before: string, name: string, context: Context): Promise<Edited> {
  const { VISUAL, EDITOR } = context.env;
  const editor = VISUAL || EDITOR || (await installedEditor(context));
  const directory = await mkdtemp(join(tmpdir(), 'spawnlet-'));
  const path = join(directory, name);
  let kept = false;
  const remove = async () => {
    if (!kept) await rm(directory, { recursive: true, force: true });
  };
  try {
    await writeFile(path, before, { mode: 0o600 });
    // An editor is a command line: `code --wait`.
    const child = context.host.children.spawn(['/bin/sh', '-c', `${editor} "$1"`, 'sh', path], {
      stdio: 'inherit',
    });
    const code = await ended(child);
    if (code !== 0)
      throw new SpawnletError('ERR_EDITOR', `${editor} ended with ${code}: nothing was changed`, {
        hint: 'name another with EDITOR=',
      });
    return {
      text: await readFile(path, 'utf8'),
      path,
      keep(hint) {
        kept = true;
        process.stderr.write(`spawnlet: your text is kept in ${path}; when it is right: ${hint}\n`);
      },
      [Symbol.asyncDispose]: remove,
    };
  } catch (error) {
    await remove();
    throw error;
  }
}
