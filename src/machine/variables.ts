/** How variables reach commands of `machine exec`, past every list that other users see. */

import type { Files } from '../host/files.ts';
import { temporaryName } from '../host/process.ts';
import { execDirectory } from '../names.ts';
import { environmentFile } from '../systemd/escape.ts';

/** Variables that mean something to systemd-run, machinectl or what loads them: they are given as arguments. */
const meansSomething =
  /^(?:(?:LD|SYSTEMD|DBUS|XDG|GCONV|GLIBC|MALLOC|LC)_.*|HOME|PATH|TERM|LANG|LANGUAGE|LOCPATH|NLSPATH|TZ|TZDIR|TMPDIR|SHELL|PAGER|COLUMNS|LINES|.*_SOCKET|.*_ADDRESS)$/;

/** How a command is given its variables. */
export interface Passed {
  readonly flags: readonly string[];
  /** For who passes them on. */
  readonly env: Readonly<Record<string, string>>;
  /** What they are read from as the command begins, which then removes it. */
  readonly file?: string;
}

/**
 * `NAME=value` pairs for a unit of the host: every user may ask systemd for the properties of that, and in a file that root
 * alone reads the values are none.
 */
export async function leftInFile(files: Files, pairs: readonly string[]): Promise<Passed> {
  const variables = pairs.map(pair => pair.split(/=(.*)/s, 2) as [string, string]);
  const text = environmentFile(Object.fromEntries(variables));
  const file = `${execDirectory}/${temporaryName()}`;
  await files.makeDirectory(execDirectory, 0o700);
  await files.sweep(execDirectory);
  await files.write(file, text, 0o600);
  return { flags: [`--property=EnvironmentFile=${file}`], env: {}, file };
}

/** `NAME=value` pairs as flags of systemd-run and machinectl, with which those look for the value in their environment. */
export function passedOn(pairs: readonly string[]): Passed {
  const env: Record<string, string> = {};
  const flags: string[] = [];
  for (const pair of pairs) {
    const [, name = '', value = ''] = /^([A-Za-z_]\w*)=(.*)$/s.exec(pair) ?? [];
    if (name === '' || meansSomething.test(name)) flags.push(`--setenv=${pair}`);
    else {
      env[name] = value;
      flags.push(`--setenv=${name}`);
    }
  }
  return { flags, env };
}
