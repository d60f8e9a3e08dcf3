import { unitPathOf } from '../app/plan.ts';
import { directoryOf } from '../app/spec.ts';
import { defineCommand, outputOption } from './command.ts';
import { print } from './output.ts';
import { rowOf } from './ps.ts';

export const inspect = defineCommand({
  name: 'inspect',
  group: 'Containers',
  summary: 'Show all that is known of containers',
  synopsis: '[-o json|yaml] NAME…',
  arity: [1, Number.POSITIVE_INFINITY],
  options: outputOption,
  refused: { format: 'use -o json or -o yaml', f: 'use -o json or -o yaml' },
  examples: [['spawnlet inspect web', 'its state, its unit and its bundle']],
  async run({ options, arguments: names }, context) {
    const apps = await context.apps();
    const found = await Promise.all(names.map(name => apps.get(name, context.signal)));
    const documents = found.map(app => ({
      ...rowOf(app),
      imageDigest: app.imageDigest,
      state: app.state,
      lastRun: app.record ?? null,
      unitFile: unitPathOf(app.name, app.request.removeAfterwards),
      unitProperties: app.unit,
      request: app.request,
      process: app.bundle.process,
      mounts: app.bundle['mounts'],
      bundle: `${directoryOf(app.name)}/config.json`,
    }));
    await print(documents, options.output === 'yaml' ? 'yaml' : 'json');
    return 0;
  },
});
