import { access, constants } from 'node:fs/promises';
import { join } from 'node:path';
import type { Piece, Words } from '../../engine/host/command.ts';
import type { PackageService } from '../../engine/host/package-unit.ts';
import { SpawnletError } from '../../host/error.ts';
import type { Container, EphemeralContainer } from '../api/kubernetes.ts';
import { expandVariables } from '../spec/variables/expansion.ts';

const defaultPath = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** A text of the pod with its variables left as such: no argument holds a NUL, which stands between the pieces here. */
export function piecesOf(text: string, variables: ReadonlyMap<string, string>): Piece[] {
  const marked = expandVariables(text.replaceAll('\0', ''), name =>
    variables.has(name) ? `\0${name}\0` : undefined,
  );
  return marked.split('\0').flatMap((piece, index): Piece[] => {
    if (index % 2 === 1) return [{ variable: piece }];
    return piece === '' ? [] : [piece];
  });
}

/** What a container's words are found with. */
export interface WordFacts {
  readonly variables: ReadonlyMap<string, string>;
  /** The image, if that is a path. */
  readonly path?: string;
  readonly service?: PackageService;
  /** With `$(VAR)` put in. */
  readonly command?: readonly string[];
}

async function isExecutable(path: string): Promise<boolean> {
  return access(path, constants.X_OK).then(
    () => true,
    () => false,
  );
}

/** An absolute path as it is: it may lie in a volume. @throws ERR_HOST_PROGRAM */
async function programOf(word: string, cwd: string, path: string): Promise<string> {
  if (word.startsWith('/')) return word;
  if (word.includes('/')) return join(cwd, word);
  for (const directory of path.split(':').filter(each => each.startsWith('/')))
    if (await isExecutable(join(directory, word))) return join(directory, word);
  throw new SpawnletError(
    'ERR_HOST_PROGRAM',
    `exec: ${JSON.stringify(word)}: executable file not found in $PATH`,
    {
      hint: 'name the program by its path',
    },
  );
}

/**
 * The words that stand for those of the package. A command of one word replaces the program and leaves its options, as systemk
 * has it; one of several is the whole line.
 *
 * @throws ERR_HOST_PROGRAM, ERR_NO_COMMAND where neither the package nor the pod says what to run
 */
export async function hostWords(
  container: Container | EphemeralContainer,
  { variables, path, service, command = path === undefined ? undefined : [path] }: WordFacts,
): Promise<Words> {
  const own = container.command?.slice(1) ?? [];
  const replaced = [...own, ...(container.args ?? [])].map(word => piecesOf(word, variables));
  const isReplaced = replaced.length > 0 || container.args !== undefined || !service;
  const args = isReplaced ? { args: replaced } : {};
  if (command !== undefined && command.length > 0) {
    const [first = ''] = command;
    const search = variables.get('PATH') ?? defaultPath;
    return { program: await programOf(first, container.workingDir || '/', search), ...args };
  }
  if (service) return args;
  throw new SpawnletError(
    'ERR_NO_COMMAND',
    `the package of ${container.name} has no unit that says what to run`,
    {
      hint: `set command of container ${container.name}`,
    },
  );
}
