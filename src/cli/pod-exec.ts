import { execHint, startFailure } from '../app/status.ts';
import type { ProcessSpec } from '../engine/exec.ts';
import { SpawnletError } from '../host/error.ts';
import { containerDirectory } from '../pod/unit/names.ts';
import { engineOf } from '../pod/worker/engine.ts';
import { getPod, runningIn } from '../pod/worker/known.ts';
import { defineCommand } from './command.ts';
import { namespaceOf, namespaceOption } from './pod.ts';
import { inputOfExec } from './terminal.ts';

export const containerOption = {
  container: { type: 'string', short: 'c', value: 'NAME', help: 'the first one, if not given' },
} as const;

export const exec = defineCommand({
  name: 'pod exec',
  group: 'Pods',
  summary: 'Run a command in a container of a pod',
  synopsis: '[FLAG…] POD [FLAG…] [--] COMMAND [ARG…]',
  arity: [2, Number.POSITIVE_INFINITY],
  passThrough: true,
  flagsBehind: true,
  options: {
    ...namespaceOption,
    ...containerOption,
    stdin: { type: 'boolean', short: 'i', help: 'pass standard input on' },
    tty: { type: 'boolean', short: 't', help: 'give it a terminal' },
  },
  examples: [
    ['spawnlet pod exec web -c nginx -- nginx -t', 'one command, as kubectl has it'],
    ['spawnlet pod exec -it web sh', 'a shell on a terminal'],
  ],
  async run({ options, arguments: [name = '', ...args] }, { host }) {
    const input = inputOfExec(options.stdin, options.tty);
    const known = await getPod(host.files, namespaceOf(options), name);
    const { identity } = known;
    const container = runningIn(known, options.container);
    const text = await host.files.read(`${containerDirectory(identity.uid, container.name)}/config.json`);
    const { process: own } = JSON.parse(text ?? '{}') as { readonly process: ProcessSpec };
    const spec: ProcessSpec = { ...own, args, terminal: options.tty };
    const engine = engineOf(known.pod);
    const streams = [input, 'inherit', 'inherit'] as const;
    const end = await engine.exec(host, { identity, name: container.name }, spec, [...streams]);
    if (end.kind === 'exited') return end.exitCode;
    const failure = startFailure(end.text);
    throw new SpawnletError('ERR_EXEC', `${name} did not run ${args[0]}: ${failure.message}`, {
      exitCode: failure.exitCode,
      hint: execHint(failure, `its user may not enter workingDir, or it is gone: spawnlet pod get ${name}`),
    });
  },
});
