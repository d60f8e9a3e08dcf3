import { SpawnletError } from '../host/error.ts';

/**
 * Refuses to open a shell or a login for an input that is no terminal: it would wait for ever, or lose the input. `instead`
 * is a command that passes an input on.
 *
 * @throws ERR_NO_TERMINAL
 */
export function needTerminal(command: string, instead: string): void {
  if (process.stdin.isTTY) return;
  throw new SpawnletError('ERR_NO_TERMINAL', `${command} needs a terminal, and standard input is none`, {
    hint: `spawnlet ${instead}`,
  });
}
