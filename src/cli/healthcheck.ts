import { defineCommand } from './command.ts';
import { containers } from './containers.ts';

export const healthcheck = defineCommand({
  name: 'healthcheck run',
  group: 'Containers',
  summary: 'Ask a container whether it is well',
  synopsis: 'NAME',
  arity: [1, 1],
  options: {},
  examples: [['spawnlet healthcheck run web', '0: it is; 1: it is not. Its timer does the same']],
  async run({ arguments: [name = ''] }, context) {
    const { exitCode, output } = await (await containers(context)).checkHealth(name, context.signal);
    if (exitCode === 0) return 0;
    process.stdout.write(`unhealthy\n${output}${output.endsWith('\n') || output === '' ? '' : '\n'}`);
    return 1;
  },
});
