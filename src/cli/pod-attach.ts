import { Session } from '../app/session.ts';
import { SpawnletError } from '../host/error.ts';
import { podEngineOf } from '../pod/spec/engine-limits.ts';
import { containerDirectory, engineName, unitOf } from '../pod/unit/names.ts';
import { getPod, runningIn } from '../pod/worker/known.ts';
import { defineCommand } from './command.ts';
import { namespaceOf, namespaceOption } from './pod.ts';
import { containerOption } from './pod-exec.ts';
import { join, streamsOf } from './terminal.ts';

export const attach = defineCommand({
  name: 'pod attach',
  group: 'Pods',
  summary: 'Connect to a running container of a pod',
  synopsis: '[FLAG…] POD',
  arity: [1, 1],
  options: {
    ...namespaceOption,
    ...containerOption,
    stdin: { type: 'boolean', short: 'i', help: 'pass standard input on' },
    tty: { type: 'boolean', short: 't', help: 'standard input is a terminal, as it is for the container' },
    'detach-keys': {
      type: 'string',
      value: 'KEYS',
      help: 'keys that leave it (ctrl-p,ctrl-q, with a terminal)',
    },
  },
  examples: [
    ['spawnlet pod attach web', 'see what it writes from now on'],
    ['spawnlet pod attach -it -c shell web', 'on its terminal; ctrl-p ctrl-q leaves it'],
  ],
  async run({ options, arguments: [name = ''] }, context) {
    const { host, signal } = context;
    const known = await getPod(host.files, namespaceOf(options), name);
    const container = runningIn(known, options.container);
    const engine = podEngineOf(known.pod.spec);
    if (engine !== 'crun')
      throw new SpawnletError(
        'ERR_ENGINE',
        `containers of the engine ${engine} have no streams to attach to`,
        {
          hint: `spawnlet pod logs -f ${name}`,
        },
      );
    if (options.stdin && !container.stdin)
      throw new SpawnletError(
        'ERR_NO_STDIN',
        `container ${container.name} of ${name} reads no standard input`,
        { hint: 'set stdin: true in its manifest, or attach without -i' },
      );
    // As kubectl has it: the container says whether there is a terminal.
    if (options.tty && !container.tty)
      process.stderr.write(`Unable to use a TTY - container ${container.name} did not allocate one\n`);
    const { identity } = known;
    const of = {
      name: engineName(identity, container.name),
      unit: unitOf(identity, container.name),
      directory: containerDirectory(identity.uid, container.name),
    };
    using session = new Session(of, { host, systemd: () => context.systemd() });
    await using watch = await session.watch(signal);
    const asked = { terminal: options.stdin && (container.tty ?? false), stdin: options.stdin };
    return await join(session, watch, streamsOf(asked, options['detach-keys']), context);
  },
});
