import { defineCommand, outputOption } from './command.ts';

export const doctor = defineCommand({
  name: 'doctor',
  group: 'Host',
  summary: 'Tell what this host can and cannot do',
  synopsis: '[-o FORMAT]',
  arity: [0, 0],
  options: outputOption,
  examples: [['spawnlet doctor', 'each finding with its fix']],
  run: async () => 0,
});
