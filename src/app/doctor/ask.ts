import type { Host } from '../../host/host.ts';

/** What a program said last: where it says why. */
export const lastLine = (text: string): string => text.trim().split('\n').at(-1) ?? '';

/** What a shell says as it does what is asked; throws with its last words if it fails. */
export async function shell(
  host: Host,
  script: string,
  words: readonly string[],
  signal: AbortSignal,
): Promise<string> {
  const { code, stdout, stderr } = await host.children.capture(['/bin/sh', '-euc', script, 'sh', ...words], {
    signal,
  });
  if (code === 0) return stdout.toString().trim();
  throw new Error(lastLine(stderr) || `ended with ${code}`);
}

/** Runs a shell script in a transient unit with these properties; gives its exit code and what it said. */
export async function inUnit(
  host: Host,
  properties: readonly string[],
  script: string,
  signal: AbortSignal,
): Promise<{ readonly code: number; readonly stdout: string; readonly stderr: string }> {
  const words = 'systemd-run --quiet --wait --pipe --collect --no-ask-password'.split(' ');
  const settings = properties.map(text => `--property=${text}`);
  const ran = await host.children.capture([...words, ...settings, '/bin/sh', '-c', script], { signal });
  return { code: ran.code, stdout: ran.stdout.toString(), stderr: ran.stderr };
}
