import { defineCommand, outputOption } from './command.ts';
import { print } from './output.ts';

/** The version of this tree; the bundler puts the package's here. */
declare const SPAWNLET_VERSION: string | undefined;

export const version = defineCommand({
  name: 'version',
  group: 'Host',
  summary: 'Show versions',
  synopsis: '[-o FORMAT]',
  arity: [0, 0],
  options: outputOption,
  examples: [['spawnlet version -o json', 'for scripts']],
  async run(input) {
    const row = {
      spawnlet: typeof SPAWNLET_VERSION === 'string' ? SPAWNLET_VERSION : 'development',
      node: process.versions.node,
    };
    if (input.options.output === undefined || input.options.output === 'table') {
      process.stdout.write(`spawnlet ${row.spawnlet} (node ${row.node})\n`);
    } else {
      await print(row, input.options.output);
    }
    return 0;
  },
});
