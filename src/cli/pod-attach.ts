import { once } from 'node:events';
import { Session } from '../app/session.ts';
import { SpawnletError } from '../host/error.ts';
import { logNamespace } from '../names.ts';
import { podEngineOf } from '../pod/spec/engine-limits.ts';
import { containerDirectory, engineName, unitOf } from '../pod/unit/names.ts';
import { engineOf } from '../pod/worker/engine.ts';
import { getPod, type KnownPod, runningIn } from '../pod/worker/known.ts';
import { bytesOf } from '../systemd/journal.ts';
import { defineCommand } from './command.ts';
import type { Context } from './context.ts';
import { namespaceOf, namespaceOption } from './pod.ts';
import { containerOption } from './pod-exec.ts';
import { followRun } from './pod-follow.ts';
import { join, streamsOf } from './terminal.ts';

/** What a container writes from a time on, in microseconds, as the journal has it: where there is no conmon, nobody else has its streams. */
async function followStreams(context: Context, known: KnownPod, name: string, since: number): Promise<void> {
  const { identity, pod } = known;
  const unit = unitOf(identity, name);
  const invocation = await (await context.systemd()).unitProperty(unit, 'InvocationID', context.signal);
  const of = engineOf(pod).logOf({ identity, name }, invocation);
  await followRun(context, unit, invocation, { of, namespace: logNamespace, since }, async entry => {
    const stream = process[entry.stream];
    if (!stream.write(bytesOf(entry))) await once(stream, 'drain');
    return false;
  });
}

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
    if (podEngineOf(known.pod.spec) !== 'crun') {
      // What answers to the input comes after it, however long it takes to begin to read.
      const since = host.clock.now() * 1000;
      const input = options.stdin ? session.input() : undefined;
      await followStreams(context, known, container.name, since).finally(() => input?.kill('SIGTERM'));
      return await session.ended(watch, signal);
    }
    const asked = { terminal: options.stdin && (container.tty ?? false), stdin: options.stdin };
    return await join(session, watch, streamsOf(asked, options['detach-keys']), context);
  },
});
