import { AsyncLocalStorage } from 'node:async_hooks';

const current = new AsyncLocalStorage<{ out: string; err: string }>();

/** What a command in this process writes; what the reporter of the tests writes meanwhile goes its way. */
export async function outputOf(
  run: () => Promise<number>,
): Promise<{ code: number; out: string; err: string }> {
  const written = { out: '', err: '' };
  const streams = [
    ['out', process.stdout],
    ['err', process.stderr],
  ] as const;
  const restore = streams.map(([name, stream]) => {
    const write = stream.write.bind(stream);
    stream.write = ((...words: Parameters<typeof write>) => {
      const mine = current.getStore();
      if (!mine) return write(...words);
      mine[name] += String(words[0]);
      return true;
    }) as typeof write;
    return () => {
      stream.write = write;
    };
  });
  try {
    const code = await current.run(written, run);
    return { code, ...written };
  } finally {
    for (const each of restore) each();
  }
}
