import * as flags from '../app/request.ts';
import { defineCommand } from './command.ts';
import { containers } from './containers.ts';
import { inputOfExec } from './terminal.ts';

export const exec = defineCommand({
  name: 'exec',
  group: 'Containers',
  summary: 'Run a command in a running container',
  synopsis: '[FLAG…] NAME COMMAND [ARG…]',
  arity: [2, Number.POSITIVE_INFINITY],
  passThrough: true,
  options: {
    interactive: { type: 'boolean', short: 'i', help: 'pass standard input on' },
    tty: { type: 'boolean', short: 't', help: 'give it a terminal' },
    env: { type: 'strings', short: 'e', value: 'NAME[=VALUE]', help: 'set a variable' },
    user: { type: 'string', short: 'u', value: 'USER[:GROUP]', help: 'run as, by name or number' },
    workdir: { type: 'string', short: 'w', value: 'DIR', help: 'working directory' },
  },
  refused: {
    privileged: 'a process of exec has what the container has; run the container with --cap-add',
    detach: 'redirect its output and put it into the background of the container',
    d: 'redirect its output and put it into the background of the container',
  },
  examples: [
    ['spawnlet exec web nginx -t', 'one command'],
    ['spawnlet exec -it web sh', 'a shell on a terminal'],
  ],
  async run({ options, arguments: [name = '', ...args] }, context) {
    const input = inputOfExec(options.interactive, options.tty);
    const apps = await containers(context);
    return apps.exec(
      name,
      {
        args,
        env: options.env.flatMap(entry => flags.parseEnv(entry, context.env) ?? []),
        cwd: options.workdir === undefined ? undefined : flags.parseWorkdir(options.workdir),
        terminal: options.tty,
        user: options.user,
      },
      input === 'inherit' ? 'inherit' : 'ignore-input',
      handler => context.takeSignals(handler),
      context.signal,
    );
  },
});
