import { defineCommand } from './command.ts';
import { containers } from './containers.ts';
import { join, passSignals, streamsOf } from './terminal.ts';

export const attach = defineCommand({
  name: 'attach',
  group: 'Containers',
  summary: 'Connect to a running container',
  synopsis: '[FLAG…] NAME',
  arity: [1, 1],
  options: {
    'no-stdin': { type: 'boolean', help: 'leave standard input alone' },
    'sig-proxy': {
      type: 'boolean',
      help: 'pass SIGINT and SIGTERM on, which is the default; with --sig-proxy=false Ctrl-C leaves it',
      initially: true,
    },
    'detach-keys': {
      type: 'string',
      value: 'KEYS',
      help: 'keys that leave it (ctrl-p,ctrl-q, with a terminal)',
    },
  },
  examples: [
    ['spawnlet attach web', 'on its streams: Ctrl-C goes to the program'],
    [
      'spawnlet attach --sig-proxy=false web',
      'see what it writes from now on; Ctrl-C leaves it. To watch: spawnlet logs -f web',
    ],
  ],
  async run({ options, arguments: [name = ''] }, context) {
    const apps = await containers(context);
    const app = await apps.attachable(name, context.signal);
    using session = apps.session(name);
    await using watch = await session.watch(context.signal);
    const request = { terminal: app.request.terminal, stdin: app.request.stdin && !options['no-stdin'] };
    if (options['sig-proxy']) passSignals(apps, name, context);
    return await join(session, watch, streamsOf(request, options['detach-keys']), context);
  },
});
