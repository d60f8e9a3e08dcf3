import { quoted } from '../../host/shell.ts';
import { type Attachment, type Command, environmentOf, inputOf, takesResultOnDelete } from './attachment.ts';
import type { NetworkList } from './list.ts';

/**
 * A network's plugins are run by a script beside the record, in a unit of its own: none is cut off half way when spawnlet
 * is killed, and the whole chain costs one unit. The result of a plugin becomes part of what the next one reads; to put
 * one JSON text into another, a shell is enough.
 */

/** Files in the directory of a record that the scripts write. */
export const resultFile = 'result.json';
export const failedFile = 'failed';
export const outputFile = 'output';
export const errorsFile = 'errors';

/** One line of JSON, open at the end where the result of another plugin is to follow. */
const json = (value: object, end: 'whole' | 'open') => {
  const text = JSON.stringify(value);
  return quoted(end === 'whole' ? text : `${text.slice(0, -1)},"prevResult":`);
};

const head = (
  what: string,
  directory: string,
  command: Command,
  attachment: Attachment,
  netns: 'there' | 'gone',
) => {
  const variables = Object.entries(environmentOf(command, attachment, netns));
  return `#!/bin/sh
# ${what}
cd ${quoted(directory)} || exit
rm -f ${failedFile}
export ${variables.map(([name, value]) => `${name}=${quoted(value)}`).join(' ')}
# A plugin and what it reads; the first that fails ends it all.
plugin() {
  "$2" <input >${outputFile} 2>${errorsFile} || { echo "$1 $?" >${failedFile}; exit 1; }
}
`;
};

/** A plugin's program, as it was found. */
export type Programs = ReadonlyMap<string, string>;

const call = (type: string, programs: Programs) =>
  `plugin ${quoted(type)} ${quoted(programs.get(type) ?? type)}\n`;

/** The script that adds a container to a network. {@link resultFile} is there once every plugin has done its part. */
export function addScript(
  directory: string,
  network: NetworkList,
  attachment: Attachment,
  programs: Programs,
): string {
  const calls = network.plugins.map((plugin, at) => {
    const input = inputOf(network, plugin, attachment.capabilities);
    const read =
      at === 0
        ? `printf %s ${json(input, 'whole')} >input\n`
        : `{ printf %s ${json(input, 'open')}; cat ${outputFile}; printf }; } >input\n`;
    return `${read}${call(plugin.type, programs)}`;
  });
  const what = `Adds ${attachment.container} to the network ${network.name}, as ${attachment.interface}.`;
  return `${head(what, directory, 'ADD', attachment, 'there')}${calls.join('')}mv ${outputFile} ${resultFile}\n`;
}

/** The script that takes it away again: the plugins in reverse, each with the recorded result, if there is one. */
export function delScript(
  directory: string,
  network: NetworkList,
  attachment: Attachment,
  programs: Programs,
  netns: 'there' | 'gone',
): string {
  const withResult = takesResultOnDelete(network);
  const calls = network.plugins.toReversed().map(plugin => {
    const input = inputOf(network, plugin, attachment.capabilities);
    const whole = `printf %s ${json(input, 'whole')} >input\n`;
    const open = `{ printf %s ${json(input, 'open')}; cat ${resultFile}; printf }; } >input\n`;
    const read = withResult ? `if [ -e ${resultFile} ]; then ${open}else ${whole}fi\n` : whole;
    return `${read}${call(plugin.type, programs)}`;
  });
  const what = `Takes ${attachment.container} out of the network ${network.name}.`;
  return `${head(what, directory, 'DEL', attachment, netns)}${calls.join('')}`;
}
