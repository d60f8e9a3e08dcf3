import { become as becomeCommand } from '../engine/become.ts';
import { defineCommand } from './command.ts';

/** What `exec` starts in the namespaces of a container of systemd-nspawn. */
export const become = defineCommand({
  name: 'become',
  group: 'Containers',
  summary: 'Become a command of a container',
  synopsis: '',
  arity: [0, 0],
  options: {},
  examples: [['spawnlet become', 'what exec does in a container of systemd-nspawn']],
  run: () => becomeCommand(),
});
