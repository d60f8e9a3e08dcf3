import { messageOf } from '../host/error.ts';
import { defineCommand } from './command.ts';
import { containers } from './containers.ts';

/**
 * What the unit of a container with `--pull always` runs before each start. A registry that is away, or an image that is
 * none any more, keeps no container from running: it starts with the image that it has.
 */
export const refresh = defineCommand({
  name: 'refresh',
  group: 'Containers',
  summary: "Fetch a container's image anew, before its unit starts",
  synopsis: 'NAME',
  arity: [1, 1],
  options: {},
  examples: [['spawnlet refresh web', 'what web.service does before it starts']],
  async run({ arguments: [name = ''] }, context) {
    const apps = await containers(context);
    try {
      const { request } = await apps.get(name, context.signal);
      context.tlsVerify = request.tlsVerify;
      context.authFile = request.authFile;
      await apps.refresh(name, context.signal);
    } catch (error) {
      context.signal.throwIfAborted();
      process.stderr.write(`spawnlet: ${name} starts with the image that is here: ${messageOf(error)}\n`);
    }
    return 0;
  },
});
