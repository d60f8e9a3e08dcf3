import { messageOf, SpawnletError } from '../host/error.ts';

/**
 * Does something for each name and prints what that gives, if anything; 125 if it went wrong for one of several. The
 * others are done all the same, one after the other or all at once.
 */
export async function each(
  names: readonly string[],
  act: (name: string) => Promise<string | undefined>,
  how: 'in turn' | 'at once' = 'in turn',
): Promise<number> {
  let code = 0;
  const one = async (name: string) => {
    try {
      const told = await act(name);
      if (told !== undefined) process.stdout.write(`${told}\n`);
    } catch (error) {
      if (names.length === 1 || !(error instanceof SpawnletError)) throw error;
      process.stderr.write(`spawnlet: ${messageOf(error)} [${error.code}]\n`);
      code = 125;
    }
  };
  if (how === 'at once') await Promise.all(names.map(one));
  else for (const name of names) await one(name);
  return code;
}
