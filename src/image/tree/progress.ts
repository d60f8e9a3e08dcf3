/** What the build of a base does, told while it does it: its unit writes a line of JSON for each, and the answer last. */

/** A step of a build has begun, or a program of that step says something. */
export type BuildProgress = { readonly step: string } | { readonly says: string };

export type Tell = (event: BuildProgress) => void;

/** Takes the chunks of an output, and gives each whole line that is not empty; what comes behind the last end of a line is kept. */
export function linesOf(each: (line: string) => void): (chunk: string) => void {
  let rest = '';
  return chunk => {
    const lines = (rest + chunk).split(/[\r\n]/);
    rest = (lines.pop() ?? '').slice(-longestLine);
    for (const line of lines) if (line.trim() !== '') each(line.trim());
  };
}

/** Programs that write no end of a line do not fill the memory. */
const longestLine = 65_536;

/** An event, of a line that the unit of a build has written; undefined for its answer, and for what it did not mean to say. */
export function parseProgress(line: string): BuildProgress | undefined {
  try {
    const value = JSON.parse(line) as Partial<Record<'step' | 'says', unknown>> | null;
    if (typeof value?.step === 'string') return { step: value.step };
    return typeof value?.says === 'string' ? { says: value.says } : undefined;
  } catch {
    return undefined;
  }
}
